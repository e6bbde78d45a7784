"""Training: optimisers and schedules as published, the loop, and what a run leaves behind.

`keras_nest.training.main` is the whole run, behind `train_keras.py`; the parts serve an own `model.fit` as well.
"""

from keras_nest.training.optimizers import AdamW, create_optimizer
from keras_nest.training.schedules import WarmupDecay

__all__ = ["AdamW", "WarmupDecay", "create_optimizer"]
