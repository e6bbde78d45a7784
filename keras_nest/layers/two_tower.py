"""What joins an image and a text tower: unit vectors and a temperature."""

import math
from typing import Any

import keras
from keras import ops

from keras_nest.layers.base import Layer
from keras_nest.types import Shape


@keras.saving.register_keras_serializable(package="keras_nest")
class L2Normalize(Layer):
    """Divides every vector by its length plus 1e-8: (B, C) -> (B, C).

    `keras.layers.UnitNormalization` takes the maximum of the two instead of their sum.

    Source: reference module `TwoTower`.
    """

    def call(self, x: Any) -> Any:
        return x / (ops.sqrt(ops.sum(ops.square(x), axis=-1, keepdims=True)) + 1e-8)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return input_shape


@keras.saving.register_keras_serializable(package="keras_nest")
class Temperature(Layer):
    """The learned factor of similarities, exp(t), of shape (1,), whatever the input.

    Source: parameter `t` (1,) of the reference module `TwoTower`, 0 at first.

    Args:
        initial: what it is at first, above 0.
        **kwargs: the usual layer arguments.

    Raises:
        ValueError: `initial` is not above 0.
    """

    def __init__(self, initial: float = 1.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if initial <= 0:
            raise ValueError(f"The temperature is {initial} at first; it must be above 0.")
        self.initial = initial

    def build(self, input_shape: Shape) -> None:
        initializer = keras.initializers.Constant(math.log(self.initial))
        # Not autocast: it stays float32 under mixed precision.
        self.t = self.add_weight(name="t", shape=(1,), initializer=initializer, autocast=False)

    def call(self, x: Any) -> Any:
        return ops.exp(self.t)

    def compute_output_spec(self, x: Any) -> keras.KerasTensor:
        """Float32 under mixed precision too."""
        return keras.KerasTensor((1,), dtype=self.variable_dtype)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "initial": self.initial}
