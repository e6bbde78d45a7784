"""Adversarial training of `keras_nest.NesTGenerator`."""

from keras_nest.generative.discriminator import Discriminator
from keras_nest.generative.losses import discriminator_loss, generator_loss, r1_penalty
from keras_nest.generative.trainer import GanTrainer

__all__ = ["Discriminator", "GanTrainer", "discriminator_loss", "generator_loss", "r1_penalty"]
