"""The ResNets of the NesT paper's code as Flax (Linen) modules, the oracle that conversions are checked against.

He et al., "Deep Residual Learning for Image Recognition", CVPR 2016. The parameter tree has the paths and shapes of
google-research/nested-transformer, `models/resnet_v1.py`. Its root has no ReLU between normalization and pooling, but
for small images; of the last normalizations in the blocks only those of basic blocks start at zero.

Shapes: B batch, H W height and width of a map, C channels. Every padding is SAME: on even sides more at the bottom and
on the right. Everything is float32 unless the caller passes another dtype.
"""

import flax.linen as nn
import jax

from keras_nest.conversion.flax_reference.modules import register_module


@register_module
class ResNet(nn.Module):
    """ResNet with bottlenecks or basic blocks.

    Attributes:
        num_classes: classes; 0 leaves out the head.
        stage_sizes: blocks of each stage; every stage but the first halves the sides of the map.
        width_factor: 64 times this is the number of channels of the root; every stage doubles it.
        bottleneck: blocks of three convolutions that are narrow inside, instead of two 3x3 convolutions.
        small_input: a root that keeps the size of the image.
    """

    num_classes: int = 1000
    stage_sizes: tuple[int, ...] = (3, 4, 6, 3)
    width_factor: float = 1
    bottleneck: bool = True
    small_input: bool = False

    @nn.compact
    def __call__(self, images: jax.Array, train: bool = False) -> jax.Array:
        """Classifies images.

        Sows "pre_logits", the pooled vector (B, C), into the collection "intermediates".

        Args:
            images: (B, H, W, channels), normalized.
            train: whether BatchNorm uses the statistics of the batch, and updates the collection "batch_stats".

        Returns:
            Logits (B, num_classes), or the pooled vector (B, C) if num_classes is 0.
        """
        width = int(64 * self.width_factor)
        x = conv(width, 3 if self.small_input else 7, 1 if self.small_input else 2, "init_conv")(images)
        x = batch_norm(train, "init_bn")(x)
        x = nn.relu(x) if self.small_input else nn.max_pool(x, (3, 3), strides=(2, 2), padding="SAME")
        for index, blocks in enumerate(self.stage_sizes):
            stride = 1 if index == 0 else 2
            x = Stage(blocks, width * 2**index, stride, self.bottleneck, name=f"stage{index + 1}")(x, train)
        x = x.mean(axis=(1, 2))
        self.sow("intermediates", "pre_logits", x)
        return nn.Dense(self.num_classes, kernel_init=nn.initializers.zeros, name="head")(x) if self.num_classes else x


class Stage(nn.Module):
    """Residual blocks, the first of which may halve the sides of the map."""

    blocks: int
    features: int
    stride: int
    bottleneck: bool

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Maps (B, H, W, C) to (B, ceil(H/stride), ceil(W/stride), features), 4*features with bottlenecks."""
        for index in range(self.blocks):
            stride = self.stride if index == 0 else 1
            x = Block(self.features, stride, self.bottleneck, name=f"block{index + 1}")(x, train)
        return x


class Block(nn.Module):
    """Residual block with the ReLU after the sum."""

    features: int
    stride: int
    bottleneck: bool

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Maps (B, H, W, C) to (B, ceil(H/stride), ceil(W/stride), features), 4*features with bottlenecks."""
        narrow, wide = self.features, 4 * self.features
        if self.bottleneck:
            layers = [(narrow, 1, 1), (narrow, 3, self.stride), (wide, 1, 1)]
        else:
            layers = [(narrow, 3, self.stride), (narrow, 3, 1)]
        y = x
        for index, (features, size, stride) in enumerate(layers, 1):
            y = conv(features, size, stride, f"conv{index}")(nn.relu(y) if index > 1 else y)
            is_zero = index == len(layers) and not self.bottleneck
            scale = nn.initializers.zeros if is_zero else nn.initializers.ones
            y = batch_norm(train, f"bn{index}", scale)(y)
        if y.shape != x.shape:
            x = conv(y.shape[-1], 1, self.stride, "proj_conv")(x)
            x = batch_norm(train, "proj_bn")(x)
        return nn.relu(x + y)


def conv(features: int, size: int, stride: int, name: str) -> nn.Conv:
    """Makes a convolution without bias, with a square kernel of `size` pixels a side."""
    return nn.Conv(features, (size, size), strides=(stride, stride), padding="SAME", use_bias=False, name=name)


def batch_norm(train: bool, name: str, scale_init: nn.initializers.Initializer = nn.initializers.ones) -> nn.BatchNorm:
    """Makes a BatchNorm whose running statistics forget a tenth at every step."""
    return nn.BatchNorm(use_running_average=not train, momentum=0.9, epsilon=1e-5, scale_init=scale_init, name=name)
