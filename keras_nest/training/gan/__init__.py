"""Adversarial training of `keras_nest.NesTGenerator`."""

from keras_nest.training.gan.discriminator import Discriminator
from keras_nest.training.gan.losses import discriminator_loss, generator_loss, r1_penalty
from keras_nest.training.gan.trainer import GanTrainer

__all__ = ["Discriminator", "GanTrainer", "discriminator_loss", "generator_loss", "r1_penalty"]
