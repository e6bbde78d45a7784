"""Linear projection between channels and attention heads."""

import itertools
import math
import string
from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from keras_nest.layers import initializers
from keras_nest.layers.formulation import formulation
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
    x, restore = as_rows(x)
    x = ops.matmul(x, ops.cast(ops.reshape(kernel, (size, -1)), x.dtype))
    return restore(x if bias is None else x + ops.cast(ops.reshape(bias, (-1,)), x.dtype))


def as_rows(x: Any) -> tuple[Any, Callable[[Any], Any]]:
    """A tensor as a matrix, (…, C) -> (R, C), and what brings (R, D) back to (…, D).

    TensorFlow runs a product of two matrices with the addition of a bias and a GELU after it as one operation. Between
    the product of a tensor of more axes and its bias stands a reshape, and nothing is fused. Where a `Formulation` asks
    for tensors as they are, nothing is changed.
    """
    *middle, channels = x.shape[1:]
    if not middle or None in middle or not formulation().rows:
        return x, lambda y: y
    return ops.reshape(x, (-1, channels)), lambda y: ops.reshape(y, (-1, *middle, y.shape[-1]))


@keras.saving.register_keras_serializable(package="keras_nest")
class DenseGeneral(keras.layers.EinsumDense):
    """Dense layer whose kernel keeps the head axes of the checkpoint, (C, h, d) or (h, d, C).

    (…, C) -> (…, h * d) or back: inputs and outputs are flat, heads outermost. It is `keras.layers.EinsumDense`, with
    its kernel, quantization and LoRA, but computes one matrix product, since TFLite does not fuse an einsum.

    Source: `flax.linen.DenseGeneral`.

    Args:
        features: output axes, such as (h, d).
        use_bias: adds a bias of shape `features`.
        input_axes: axes of the kernel that stand for the input's last one, such as (h, d); None is that axis itself.
        kernel_initializer: None takes NesT's.
        **kwargs: further arguments of `keras.layers.EinsumDense`.
    """

    def __init__(
        self,
        features: tuple[int, ...],
        use_bias: bool = True,
        input_axes: tuple[int, ...] | None = None,
        kernel_initializer: Any = None,
        **kwargs: Any,
    ) -> None:
        inner, outer = _letters(len(input_axes or "C"), len(features))
        super().__init__(
            f"ab{inner},{inner}{outer}->ab{outer}",
            (None, *features),
            bias_axes=outer if use_bias else None,
            kernel_initializer=initializers.get(kernel_initializer),
            **kwargs,
        )
        self.features = tuple(features)
        self.use_bias = use_bias
        self.input_axes = None if input_axes is None else tuple(input_axes)

    def build(self, input_shape: Shape) -> None:
        super().build((None, None, *(self.input_axes or input_shape[-1:])))
        self.input_spec = keras.InputSpec(min_ndim=2)

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        return self.activation(project(inputs, self.kernel, self.bias, inputs=len(self.input_axes or "C")))

    @property
    def is_plain(self) -> bool:
        """Whether kernel and bias are all that it computes with: it is not quantized and has no LoRA."""
        return self.quantization_mode is None and not self.lora_enabled

    def scaled_weights(self, scale: float) -> tuple[Any, Any | None]:
        """Kernel and bias that give the output times a number."""
        return self.kernel * scale, None if self.bias is None else self.bias * scale

    def quantized_call(self, inputs: Any, training: bool | None = None) -> Any:
        """As `call`, of a layer that was quantized."""
        middle = inputs.shape[1:-1]
        # Folded into the one axis of tokens that the equation has; with a known length Keras multiplies integers.
        lead, back = ((1, -1), ops.shape(inputs)[:-1]) if None in middle else ((-1, math.prod(middle)), (-1, *middle))
        x = ops.reshape(inputs, (*lead, *(self.input_axes or inputs.shape[-1:])))
        y = super().quantized_call(x, training=training)
        return ops.reshape(y, (*back, math.prod(self.features)))

    def quantize(self, mode: Any = None, type_check: bool = True, config: Any = None) -> None:
        """As `keras.layers.EinsumDense`, which leaves out subclasses."""
        super().quantize(mode, type_check=False, config=config)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return *input_shape[:-1], math.prod(self.features)

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        for of_equation in ("equation", "output_shape", "bias_axes"):
            del config[of_equation]
        return {**config, "features": self.features, "use_bias": self.use_bias, "input_axes": self.input_axes}


def _letters(*counts: int) -> list[str]:
    """Names for axes in an equation, after "ab": of two inner axes and one outer "cd" and "e"."""
    names = iter(string.ascii_lowercase[2:])
    return ["".join(itertools.islice(names, count)) for count in counts]
