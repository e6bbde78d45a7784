"""Stochastic depth, also called drop path."""

from typing import Any

import keras
from keras import ops

from keras_nest.layers.base import Layer
from keras_nest.layers.random import ReplicaSeedGenerator
from keras_nest.types import Shape


def draw_keep_mask(shape: tuple[Any, ...], keep_probability: float, seed: keras.random.SeedGenerator) -> Any:
    """One Bernoulli draw per entry: True where the branch is kept.

    Args:
        shape: shape of the mask, (B, 1, 1, …).
        keep_probability: probability of True, in (0, 1].
        seed: generator of the draw.

    Returns:
        Boolean tensor of the given shape.
    """
    return keras.random.uniform(shape, seed=seed, dtype="float32") < keep_probability


@keras.saving.register_keras_serializable(package="keras_nest")
class StochasticDepth(Layer):
    """Drops a whole residual branch per sample while training.

    Input and output have the same shape, (B, …). In training every sample keeps its values with probability
    `1 - rate`, divided by that probability, or becomes zero; otherwise values pass unchanged.

    Source: Huang et al. 2016, "Deep Networks with Stochastic Depth"; the reference draws one mask of shape
    (B, 1, 1, 1) for each branch.

    Args:
        rate: probability of dropping, in [0, 1).
        seed: integer seed; None draws one.
        **kwargs: the usual layer arguments.

    Raises:
        ValueError: the rate is outside [0, 1).
    """

    def __init__(self, rate: float, seed: int | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not 0 <= rate < 1:
            raise ValueError(f"The stochastic depth rate is {rate}; it must be in [0, 1).")
        self.rate = float(rate)
        self.seed = seed
        self.seed_generator = ReplicaSeedGenerator(seed, name="seed_generator") if rate > 0 else None
        self.built = True  # There is nothing to build, and what quantizes a model asks for it.

    def call(self, x: Any, training: bool | None = None) -> Any:
        if not training or self.rate == 0:
            return x
        keep = 1.0 - self.rate
        mask = draw_keep_mask((ops.shape(x)[0],) + (1,) * (x.ndim - 1), keep, self.seed_generator)
        # A product, not a division: the mask is already scaled, one multiplication touches the big tensor.
        return x * (ops.cast(mask, x.dtype) / ops.cast(keep, x.dtype))

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "rate": self.rate, "seed": self.seed}
