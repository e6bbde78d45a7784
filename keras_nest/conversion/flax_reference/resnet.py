"""The ResNet in front of hybrid Vision Transformers as Flax (Linen) modules; see `vit.py`.

He et al., "Deep Residual Learning for Image Recognition", CVPR 2016, with GroupNorm and weight standardization as in
Kolesnikov et al., "Big Transfer (BiT)", ECCV 2020, but ReLU after the sum. Every padding is SAME: on even sides more at
the bottom and on the right.

Shapes: B batch, H W height and width of a map, C channels.
"""

import functools
from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp

GroupNorm = functools.partial(nn.GroupNorm, num_groups=32, epsilon=1e-6)


def backbone(images: jax.Array, num_layers: Sequence[int], width_factor: float) -> jax.Array:
    """Makes the root and the stages inside the calling module, and applies them.

    Args:
        images: (B, H, W, 3), normalized.
        num_layers: units of each stage; () for the root alone.
        width_factor: 64 times this is the number of channels of the root, a multiple of 32.

    Returns:
        (B, ceil(H/4), ceil(W/4), C) after the root and the first stage; each further stage halves the sides.
    """
    width = int(64 * width_factor)
    x = StdConv(width, kernel_size=7, stride=2, name="conv_root")(images)
    x = nn.relu(GroupNorm(name="gn_root")(x))
    x = nn.max_pool(x, (3, 3), strides=(2, 2), padding="SAME")
    for index, units in enumerate(num_layers):
        stride = 1 if index == 0 else 2
        x = ResNetStage(units, width * 2**index, stride, name=f"block{index + 1}")(x)
    return x


class ResNetStage(nn.Module):
    """Residual units, the first of which may halve the sides of the map."""

    units: int
    features: int
    stride: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps (B, H, W, C) to (B, ceil(H/stride), ceil(W/stride), 4*features)."""
        for index in range(self.units):
            x = ResidualUnit(self.features, self.stride if index == 0 else 1, name=f"unit{index + 1}")(x)
        return x


class ResidualUnit(nn.Module):
    """Bottleneck of three convolutions, narrow inside."""

    features: int
    stride: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps (B, H, W, C) to (B, ceil(H/stride), ceil(W/stride), 4*features)."""
        wide = 4 * self.features
        shortcut = x
        if self.stride != 1 or x.shape[-1] != wide:
            shortcut = StdConv(wide, kernel_size=1, stride=self.stride, name="conv_proj")(x)
            shortcut = GroupNorm(name="gn_proj")(shortcut)

        y = StdConv(self.features, kernel_size=1, name="conv1")(x)
        y = nn.relu(GroupNorm(name="gn1")(y))
        y = StdConv(self.features, kernel_size=3, stride=self.stride, name="conv2")(y)
        y = nn.relu(GroupNorm(name="gn2")(y))
        y = StdConv(wide, kernel_size=1, name="conv3")(y)
        # A fresh unit is its shortcut.
        y = GroupNorm(name="gn3", scale_init=nn.initializers.zeros)(y)
        return nn.relu(shortcut + y)


class StdConv(nn.Module):
    """Convolution without bias whose kernel is standardized per output channel in every call."""

    features: int
    kernel_size: int
    stride: int = 1

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps (B, H, W, C) to (B, ceil(H/stride), ceil(W/stride), features)."""
        shape = (self.kernel_size, self.kernel_size, x.shape[-1], self.features)
        kernel = standardize(self.param("kernel", nn.initializers.lecun_normal(), shape))
        strides = (self.stride, self.stride)
        return jax.lax.conv_general_dilated(x, kernel, strides, "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))


def standardize(kernel: jax.Array) -> jax.Array:
    """Gives each output channel of a kernel (H, W, C, features) mean 0 and standard deviation 1."""
    window = (0, 1, 2)
    deviation = jnp.std(kernel, axis=window, keepdims=True)
    return (kernel - jnp.mean(kernel, axis=window, keepdims=True)) / (deviation + 1e-5)
