"""Linear projection between channels and attention heads."""

import math
from typing import Any

import keras
from keras import ops

from keras_nest.layers.image_blocks import Shape
from keras_nest.layers.initializers import kernel_initializer


def project(x: Any, kernel: Any, bias: Any | None, inputs: int = 1) -> Any:
    """Linear map by one matrix product, whatever the number of kernel axes.

    Args:
        x: (…, I), the input axes of the kernel flattened to one.
        kernel: (i1, …, o1, …).
        bias: (o1, …) or None.
        inputs: number of leading kernel axes that are contracted with x.

    Returns:
        (…, O), the output axes flattened to one, in the dtype of x.
    """
    size = math.prod(kernel.shape[:inputs])
    x = ops.matmul(x, ops.cast(ops.reshape(kernel, (size, -1)), x.dtype))
    return x if bias is None else x + ops.cast(ops.reshape(bias, (-1,)), x.dtype)


@keras.saving.register_keras_serializable(package="keras_nest")
class DenseGeneral(keras.layers.Layer):
    """Dense layer whose kernel keeps the head axes of the checkpoint, (C, h, d).

    (…, C) -> (…, h * d): the output is flat, heads outermost. `keras.layers.EinsumDense` stores the same kernel but
    computes an einsum, which TFLite does not fuse.

    Source: `flax.linen.DenseGeneral`.

    Args:
        features: output axes, such as (h, d).
        use_bias: adds a bias of shape `features`.
        **kwargs: the usual layer arguments.
    """

    def __init__(self, features: tuple[int, ...], use_bias: bool = True, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.features = tuple(features)
        self.use_bias = use_bias

    def build(self, input_shape: Shape) -> None:
        shape = (input_shape[-1], *self.features)
        self.kernel = self.add_weight(name="kernel", shape=shape, initializer=kernel_initializer())
        self.bias = self.add_weight(name="bias", shape=self.features, initializer="zeros") if self.use_bias else None

    def call(self, x: Any) -> Any:
        return project(x, self.kernel, self.bias)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return *input_shape[:-1], math.prod(self.features)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "features": self.features, "use_bias": self.use_bias}
