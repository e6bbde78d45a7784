"""The ResNet in front of hybrid ViTs: weight-standardized convolutions and group normalization.

Source: Kolesnikov et al. 2020, "Big Transfer"; reference module `models_resnet.py`.
"""

from typing import Any

import keras
from keras import ops

from keras_nest.layers.base import Layer
from keras_nest.layers.normalization import norm
from keras_nest.types import Shape

# Epsilon of the group normalizations of each variant.
_EPSILONS = {"jax": 1e-6, "timm": 1e-5}


def check_variant(variant: str) -> None:
    """Refuses what is no variant of these layers.

    Raises:
        ValueError: says which there are.
    """
    if variant not in _EPSILONS:
        raise ValueError(f"The ResNet's variant is {variant!r}; it must be one of {', '.join(map(repr, _EPSILONS))}.")


def group_norm(variant: str, **kwargs: Any) -> keras.layers.Layer:
    """`norm("GN", …)` with the epsilon of a variant, 1e-6 of "jax" and 1e-5 of "timm"."""
    return norm("GN", epsilon=_EPSILONS[variant], **kwargs)


@keras.saving.register_keras_serializable(package="keras_nest")
class StdConv(keras.layers.Conv2D):
    """Convolution whose kernel is standardized on every pass: (B, H, W, C) -> (B, H', W', filters).

    Each output channel of the kernel gets mean 0 and is divided by its deviation (population; `variant` says how it is
    kept off 0); the stored kernel stays raw and gradients flow through. Padding is SAME as in TensorFlow (asymmetric
    for even sizes), there is no bias. Everything else is `keras.layers.Conv2D`.

    Args:
        filters: output channels.
        kernel_size: side of the kernel in pixels.
        variant: "jax" adds 1e-5 to the deviation; "timm" adds 1e-8 to the variance, as timm's `StdConv2dSame` does.
        **kwargs: arguments of `keras.layers.Conv2D`.

    Raises:
        ValueError: another variant.
    """

    def __init__(self, filters: int, kernel_size: int | tuple[int, int], variant: str = "jax", **kwargs: Any) -> None:
        check_variant(variant)
        defaults = {"padding": "same", "use_bias": False, "kernel_initializer": "lecun_normal"}
        super().__init__(filters, kernel_size, **{**defaults, **kwargs})
        self.variant = variant

    def add_weight(self, *args: Any, **kwargs: Any) -> keras.Variable:
        """As usual, but under mixed precision the kernel is standardized before it is rounded, not after."""
        return super().add_weight(*args, **{**kwargs, "autocast": False})

    def convolution_op(self, inputs: Any, kernel: Any) -> Any:
        """The convolution, with the kernel (k, k, C, filters) standardized in float32."""
        kernel = kernel - ops.mean(kernel, axis=(0, 1, 2), keepdims=True)
        if self.variant == "timm":
            kernel = kernel / ops.sqrt(ops.var(kernel, axis=(0, 1, 2), keepdims=True) + 1e-8)
        else:
            kernel = kernel / (ops.std(kernel, axis=(0, 1, 2), keepdims=True) + 1e-5)
        return super().convolution_op(inputs, ops.cast(kernel, inputs.dtype))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "variant": self.variant}


@keras.saving.register_keras_serializable(package="keras_nest")
class ResidualUnit(Layer):
    """Bottleneck unit with the activation after the sum: (B, H, W, C) -> (B, H / stride, W / stride, 4 * features).

    The shortcut is projected from the raw input where stride or channels change.

    Args:
        features: channels inside the bottleneck, a multiple of 32.
        stride: of the middle convolution and the projection.
        variant: of the convolutions, see `StdConv`, and of the normalizations: epsilon is 1e-6 for "jax", 1e-5 for
            "timm".
        **kwargs: the usual layer arguments.
    """

    def __init__(self, features: int, stride: int = 1, variant: str = "jax", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        check_variant(variant)
        self.features, self.stride, self.variant = features, stride, variant

    def build(self, input_shape: Shape) -> None:
        widths = (self.features, self.features, 4 * self.features)
        self.branch = [
            self._conv_and_norm(width, side, stride, f"conv{i}", f"gn{i}")
            for i, width, side, stride in zip((1, 2, 3), widths, (1, 3, 1), (1, self.stride, 1), strict=True)
        ]
        self.projection = None
        if self.stride != 1 or input_shape[-1] != widths[-1]:
            self.projection = self._conv_and_norm(widths[-1], 1, self.stride, "conv_proj", "gn_proj")
            self._build_pair(self.projection, input_shape)
        shape = input_shape
        for pair in self.branch:
            shape = self._build_pair(pair, shape)

    def _conv_and_norm(
        self, width: int, side: int, stride: int, conv: str, norm_name: str
    ) -> tuple[keras.layers.Layer, keras.layers.Layer]:
        policy = self.dtype_policy
        # The last normalization starts at zero, so that a new unit passes its input on.
        scale = "zeros" if norm_name == "gn3" else "ones"
        return (
            StdConv(width, side, self.variant, strides=stride, name=conv, dtype=policy),
            group_norm(self.variant, name=norm_name, gamma_initializer=scale, dtype=policy),
        )

    @staticmethod
    def _build_pair(pair: tuple[keras.layers.Layer, keras.layers.Layer], shape: Shape) -> Shape:
        conv, normalize = pair
        conv.build(shape)
        shape = conv.compute_output_shape(shape)
        normalize.build(shape)
        return shape

    def call(self, x: Any) -> Any:
        y = x
        for i, (conv, normalize) in enumerate(self.branch):
            y = normalize(conv(ops.relu(y) if i else y))
        if self.projection is not None:
            conv, normalize = self.projection
            x = normalize(conv(x))
        return ops.relu(x + y)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        batch, height, width, _ = input_shape
        return batch, -(-height // self.stride), -(-width // self.stride), 4 * self.features

    def get_config(self) -> dict[str, Any]:
        fields = ("features", "stride", "variant")
        return {**super().get_config(), **{field: getattr(self, field) for field in fields}}


@keras.saving.register_keras_serializable(package="keras_nest")
class ResNetStage(Layer):
    """Units `unit1`, `unit2`, …; the first has the stride: (B, H, W, C) -> (B, H / stride, W / stride, 4 * features).

    Args:
        num_units: number of units.
        features: channels inside the bottlenecks, a multiple of 32.
        stride: of the first unit.
        variant: see `ResidualUnit`.
        **kwargs: the usual layer arguments.
    """

    def __init__(self, num_units: int, features: int, stride: int = 1, variant: str = "jax", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.num_units, self.features, self.stride, self.variant = num_units, features, stride, variant

    def build(self, input_shape: Shape) -> None:
        self.units = [
            ResidualUnit(
                self.features, 1 if i else self.stride, self.variant, name=f"unit{i + 1}", dtype=self.dtype_policy
            )
            for i in range(self.num_units)
        ]
        for unit in self.units:
            unit.build(input_shape)
            input_shape = unit.compute_output_shape(input_shape)

    def call(self, x: Any) -> Any:
        for unit in self.units:
            x = unit(x)
        return x

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        batch, height, width, _ = input_shape
        return batch, -(-height // self.stride), -(-width // self.stride), 4 * self.features

    def get_config(self) -> dict[str, Any]:
        fields = ("num_units", "features", "stride", "variant")
        return {**super().get_config(), **{field: getattr(self, field) for field in fields}}
