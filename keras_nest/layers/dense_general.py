"""Linear projection between channels and attention heads."""

import math
from typing import Any

import keras
from keras import ops

from keras_nest.layers import initializers
from keras_nest.layers.base import Layer
from keras_nest.types import Shape


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
class DenseGeneral(Layer):
    """Dense layer whose kernel keeps the head axes of the checkpoint, (C, h, d) or (h, d, C).

    (…, C) -> (…, h * d) or back: inputs and outputs are flat, heads outermost. `keras.layers.EinsumDense` stores the
    same kernel but computes an einsum, which TFLite does not fuse.

    Source: `flax.linen.DenseGeneral`.

    Args:
        features: output axes, such as (h, d).
        use_bias: adds a bias of shape `features`.
        input_axes: axes of the kernel that stand for the input's last one, such as (h, d); None is that axis itself.
        kernel_initializer: drawn for the kernel as a matrix (inputs, outputs); None takes NesT's.
        **kwargs: the usual layer arguments.
    """

    def __init__(
        self,
        features: tuple[int, ...],
        use_bias: bool = True,
        input_axes: tuple[int, ...] | None = None,
        kernel_initializer: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.features = tuple(features)
        self.use_bias = use_bias
        self.input_axes = None if input_axes is None else tuple(input_axes)
        self.kernel_initializer = initializers.get(kernel_initializer)

    def build(self, input_shape: Shape) -> None:
        axes = self.input_axes or (input_shape[-1],)
        self.kernel = self.add_weight(name="kernel", shape=(*axes, *self.features), initializer=self._draw_kernel)
        self.bias = self.add_weight(name="bias", shape=self.features, initializer="zeros") if self.use_bias else None

    def _draw_kernel(self, shape: Shape, dtype: Any = None) -> Any:
        """Initial kernel; Keras would mistake head axes for those of a convolution and count other fans."""
        matrix = (math.prod(shape[: -len(self.features)]), math.prod(self.features))
        return ops.reshape(self.kernel_initializer(matrix, dtype), shape)

    def call(self, x: Any) -> Any:
        return project(x, self.kernel, self.bias, inputs=len(self.input_axes or "C"))

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return *input_shape[:-1], math.prod(self.features)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "features": self.features,
            "use_bias": self.use_bias,
            "input_axes": self.input_axes,
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
        }
