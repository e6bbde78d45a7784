"""Training: optimizers and schedules as published, a train step for any number of replicas, and what a run leaves.

`keras_nest.cli.train` is the whole run, behind `train_keras.py`; the parts serve an own `model.fit` as well.
"""

from keras_nest.metrics import accuracy
from keras_nest.models.losses import cross_entropy, sigmoid_cross_entropy
from keras_nest.training.contrastive import ContrastiveTrainer
from keras_nest.training.distributed_optimizer import DistributedOptimizer
from keras_nest.training.loss_scaling import LossScaleOptimizer
from keras_nest.training.optimizers import AdamW, Momentum, create_optimizer
from keras_nest.training.schedules import FineTuningDecay, WarmupDecay
from keras_nest.training.sharpness import SharpnessAware
from keras_nest.training.strategies import create_strategy, distribute
from keras_nest.training.trainer import Trainer

__all__ = [
    "AdamW",
    "ContrastiveTrainer",
    "DistributedOptimizer",
    "FineTuningDecay",
    "LossScaleOptimizer",
    "Momentum",
    "SharpnessAware",
    "Trainer",
    "WarmupDecay",
    "accuracy",
    "create_optimizer",
    "create_strategy",
    "cross_entropy",
    "distribute",
    "sigmoid_cross_entropy",
]
