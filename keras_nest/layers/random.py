"""Randomness of layers: the only file here that knows which backend runs it."""

from typing import Any

import keras
from keras import ops

# Keeps the seed sequences of neighbouring layers and replicas apart.
_REPLICA_STRIDE = 1_000_003


def replica_id() -> Any:
    """Index of the replica that is running, for use inside a layer's `call`.

    Returns:
        A scalar integer (Python or tensor): 0 outside `tf.distribute` and on backends other than TensorFlow.
    """
    if keras.backend.backend() != "tensorflow":
        return 0
    import tensorflow as tf

    context = tf.distribute.get_replica_context()
    if context is None or context.num_replicas_in_sync == 1:
        return 0
    return context.replica_id_in_sync_group


@keras.saving.register_keras_serializable(package="keras_nest")
class ReplicaSeedGenerator(keras.random.SeedGenerator):
    """A `SeedGenerator` whose replicas draw different numbers.

    Under `tf.distribute` the state of a stock generator is mirrored, so that every replica draws the same dropout
    mask. This one adds a multiple of the replica's index to the seed it hands out. With one replica it is the stock
    generator, number for number.
    """

    def next(self, ordered: bool = True) -> Any:
        """Next seed: integer tensor of shape (2,)."""
        seed = super().next(ordered)
        replica = replica_id()
        if isinstance(replica, int) and replica == 0:
            return seed
        offset = ops.cast(replica, seed.dtype) * _REPLICA_STRIDE
        return seed + ops.stack([offset, ops.zeros_like(offset)])


@keras.saving.register_keras_serializable(package="keras_nest")
class Dropout(keras.layers.Dropout):
    """Keras' dropout, with a mask of its own on every replica.

    Args:
        rate: fraction of the inputs that is set to zero in training, in [0, 1].
        **kwargs: `noise_shape`, `seed` and the usual layer arguments.
    """

    def __init__(self, rate: float, **kwargs: Any) -> None:
        super().__init__(rate, **kwargs)
        if rate > 0:
            self.seed_generator = ReplicaSeedGenerator(self.seed, name="seed_generator")
