"""Randomness of layers: the only file here that knows which backend runs it."""

import contextlib
from collections.abc import Iterator
from typing import Any

import keras
from keras import ops

from keras_nest.layers.base import Layer
from keras_nest.types import Shape

# Keeps the seed sequences of neighboring layers and replicas apart.
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

    _repeated: Any = None

    @contextlib.contextmanager
    def repeating(self, seed: Any) -> Iterator[None]:
        """Within it, `next` returns this seed, which it returned before."""
        self._repeated = seed
        try:
            yield
        finally:
            self._repeated = None

    def next(self, ordered: bool = True) -> Any:
        """Next seed: integer tensor of shape (2,)."""
        if self._repeated is not None:
            return self._repeated
        seed = super().next(ordered)
        replica = replica_id()
        if isinstance(replica, int) and replica == 0:
            return seed
        offset = ops.cast(replica, seed.dtype) * _REPLICA_STRIDE
        return seed + ops.stack([offset, ops.zeros_like(offset)])


@keras.saving.register_keras_serializable(package="keras_nest")
class Dropout(Layer):
    """Dropout with a mask of its own on every replica: shape and dtype are kept.

    The arithmetic is `keras.random.dropout`. (`keras.layers.Dropout` cannot be given another seed generator.)

    Args:
        rate: fraction of the inputs that is set to zero in training, in [0, 1); the others are scaled up.
        seed: integer seed; None draws one.
        **kwargs: the usual layer arguments.

    Raises:
        ValueError: the rate is outside [0, 1).
    """

    def __init__(self, rate: float, seed: int | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not 0 <= rate < 1:
            raise ValueError(f"The dropout rate is {rate}; it must be in [0, 1).")
        self.rate, self.seed = float(rate), seed
        self.seed_generator = ReplicaSeedGenerator(seed, name="seed_generator") if rate > 0 else None
        self.built = True  # There is nothing to build, and what quantizes a model asks for it.

    def call(self, x: Any, training: bool | None = None) -> Any:
        if not training or self.rate == 0:
            return x
        return keras.random.dropout(x, self.rate, seed=self.seed_generator)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "rate": self.rate, "seed": self.seed}
