"""The ResNet in front of hybrid Vision Transformers as Flax (Linen) modules; see `vit.py`.

He et al., "Deep Residual Learning for Image Recognition", CVPR 2016, with GroupNorm and weight standardization as in
Kolesnikov et al., "Big Transfer (BiT)", ECCV 2020, but ReLU after the sum. Every padding is SAME: on even sides more at
the bottom and on the right. timm's variant of it keeps divisors off 0 in another way.

Shapes: B batch, H W height and width of a map, C channels.
"""

import functools
from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp

GroupNorm = functools.partial(nn.GroupNorm, num_groups=32)
EPSILONS = {"jax": 1e-6, "timm": 1e-5}


def backbone(images: jax.Array, num_layers: Sequence[int], width_factor: float, variant: str = "jax") -> jax.Array:
    """Makes the root and the stages inside the calling module, and applies them.

    Args:
        images: (B, H, W, 3), normalized.
        num_layers: units of each stage; () for the root alone.
        width_factor: 64 times this is the number of channels of the root, a multiple of 32.
        variant: "jax" or "timm", see `standardize` and `EPSILONS`.

    Returns:
        (B, ceil(H/4), ceil(W/4), C) after the root and the first stage; each further stage halves the sides.
    """
    width = int(64 * width_factor)
    x = StdConv(width, kernel_size=7, stride=2, variant=variant, name="conv_root")(images)
    x = nn.relu(GroupNorm(epsilon=EPSILONS[variant], name="gn_root")(x))
    x = nn.max_pool(x, (3, 3), strides=(2, 2), padding="SAME")
    for index, units in enumerate(num_layers):
        stride = 1 if index == 0 else 2
        x = ResNetStage(units, width * 2**index, stride, variant, name=f"block{index + 1}")(x)
    return x


class ResNetStage(nn.Module):
    """Residual units, the first of which may halve the sides of the map."""

    units: int
    features: int
    stride: int
    variant: str = "jax"

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps (B, H, W, C) to (B, ceil(H/stride), ceil(W/stride), 4*features)."""
        for index in range(self.units):
            stride = self.stride if index == 0 else 1
            x = ResidualUnit(self.features, stride, self.variant, name=f"unit{index + 1}")(x)
        return x


class ResidualUnit(nn.Module):
    """Bottleneck of three convolutions, narrow inside."""

    features: int
    stride: int
    variant: str = "jax"

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps (B, H, W, C) to (B, ceil(H/stride), ceil(W/stride), 4*features)."""
        wide = 4 * self.features
        conv = functools.partial(StdConv, variant=self.variant)
        normalization = functools.partial(GroupNorm, epsilon=EPSILONS[self.variant])
        shortcut = x
        if self.stride != 1 or x.shape[-1] != wide:
            shortcut = conv(wide, kernel_size=1, stride=self.stride, name="conv_proj")(x)
            shortcut = normalization(name="gn_proj")(shortcut)

        y = conv(self.features, kernel_size=1, name="conv1")(x)
        y = nn.relu(normalization(name="gn1")(y))
        y = conv(self.features, kernel_size=3, stride=self.stride, name="conv2")(y)
        y = nn.relu(normalization(name="gn2")(y))
        y = conv(wide, kernel_size=1, name="conv3")(y)
        # A fresh unit is its shortcut.
        y = normalization(name="gn3", scale_init=nn.initializers.zeros)(y)
        return nn.relu(shortcut + y)


class StdConv(nn.Module):
    """Convolution without bias whose kernel is standardized per output channel in every call."""

    features: int
    kernel_size: int
    stride: int = 1
    variant: str = "jax"

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps (B, H, W, C) to (B, ceil(H/stride), ceil(W/stride), features)."""
        shape = (self.kernel_size, self.kernel_size, x.shape[-1], self.features)
        kernel = standardize(self.param("kernel", nn.initializers.lecun_normal(), shape), self.variant)
        strides = (self.stride, self.stride)
        return jax.lax.conv_general_dilated(x, kernel, strides, "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))


def standardize(kernel: jax.Array, variant: str = "jax") -> jax.Array:
    """Gives each output channel of a kernel (H, W, C, features) mean 0 and standard deviation 1."""
    window = (0, 1, 2)
    if variant == "timm":
        variance = jnp.var(kernel, axis=window, keepdims=True)
        return (kernel - jnp.mean(kernel, axis=window, keepdims=True)) / jnp.sqrt(variance + 1e-8)
    deviation = jnp.std(kernel, axis=window, keepdims=True)
    return (kernel - jnp.mean(kernel, axis=window, keepdims=True)) / (deviation + 1e-5)
