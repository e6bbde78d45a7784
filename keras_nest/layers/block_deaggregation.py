"""Block de-aggregation: how one block becomes four between two levels of a decoder."""

from typing import Any

import keras
from keras import ops

from keras_nest.layers.base import Layer
from keras_nest.layers.image_blocks import block_images, unblock_images
from keras_nest.layers.initializers import kernel_initializer
from keras_nest.layers.normalization import norm
from keras_nest.types import Shape, Size, pair


def pixel_shuffle(x: Any, factor: int) -> Any:
    """Channels to space: (B, H, W, factor^2 * C) -> (B, factor * H, factor * W, C), with static H, W and C.

    The channels of a pixel hold its factor x factor new ones row by row, as in `tf.nn.depth_to_space`.
    """
    height, width, channels = x.shape[1:]
    x = ops.reshape(x, (-1, width, factor, channels // factor))  # B*H
    x = ops.transpose(x, (0, 2, 1, 3))
    return ops.reshape(x, (-1, height * factor, width * factor, channels // factor**2))


@keras.saving.register_keras_serializable(package="keras_nest")
class BlockDeaggregation(Layer):
    """Layer normalization, convolution and pixel shuffle on the whole map, cut into four times as many blocks.

    (B, T, N, C) -> (B, 4 * T, N, C'): the map has twice the height and width, and blocks keep their size. It turns
    `ConvPool` around; a kernel of 3 pixels lets neighboring blocks exchange information here as there.

    Source: NesT paper, section on image generation, which names the pixel shuffle.

    Args:
        output_dim: channels C' of the output.
        grid: number of blocks along height and width of the input, T = grid[0] * grid[1].
        block: height and width of a block in tokens, N = block[0] * block[1].
        kernel_size: side of the convolution's kernel; with 1 blocks do not see each other.
        **kwargs: the usual layer arguments.
    """

    def __init__(self, output_dim: int, grid: Size, block: Size, kernel_size: int = 3, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.output_dim, self.kernel_size = output_dim, kernel_size
        self.grid, self.block = pair(grid), pair(block)

    def build(self, input_shape: Shape) -> None:
        policy = self.dtype_policy
        self.norm = norm("LN", dtype=policy)
        self.norm.build(input_shape)
        self.conv = keras.layers.Conv2D(
            4 * self.output_dim,
            self.kernel_size,
            padding="same",
            kernel_initializer=kernel_initializer(),
            name="Conv_0",
            dtype=policy,
        )
        self.conv.build((None, None, None, input_shape[-1]))

    def call(self, x: Any) -> Any:
        x = self.conv(unblock_images(self.norm(x), self.grid, self.block))
        return block_images(pixel_shuffle(x, 2), (2 * self.grid[0], 2 * self.grid[1]))

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        batch, blocks, tokens, _ = input_shape
        return batch, 4 * blocks, tokens, self.output_dim

    def get_config(self) -> dict[str, Any]:
        fields = ("output_dim", "grid", "block", "kernel_size")
        return {**super().get_config(), **{field: getattr(self, field) for field in fields}}


@keras.saving.register_keras_serializable(package="keras_nest")
class TokensToImages(Layer):
    """Projects every token to its pixels: (B, T, N, C) -> images (B, H, W, out_channels) in (-1, 1), by tanh.

    H = grid[0] * block[0] * patch_size, and likewise W. Under mixed precision the tanh runs in float32.

    Args:
        out_channels: of the images.
        grid: number of blocks along height and width, T = grid[0] * grid[1].
        block: height and width of a block in tokens, N = block[0] * block[1].
        patch_size: side of a token in pixels.
        **kwargs: the usual layer arguments.
    """

    def __init__(self, out_channels: int, grid: Size, block: Size, patch_size: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.out_channels, self.patch_size = out_channels, patch_size
        self.grid, self.block = pair(grid), pair(block)

    def build(self, input_shape: Shape) -> None:
        self.dense = keras.layers.Dense(
            self.out_channels * self.patch_size**2,
            kernel_initializer=kernel_initializer(),
            name="Dense_0",
            dtype=self.dtype_policy,
        )
        self.dense.build(input_shape)

    def call(self, x: Any) -> Any:
        pixels = unblock_images(self.dense(x), self.grid, self.block)
        return ops.tanh(ops.cast(pixel_shuffle(pixels, self.patch_size), self.variable_dtype))

    def compute_output_spec(self, x: keras.KerasTensor) -> keras.KerasTensor:
        """Shape and dtype of the images."""
        height, width = (blocks * side * self.patch_size for blocks, side in zip(self.grid, self.block, strict=True))
        return keras.KerasTensor((x.shape[0], height, width, self.out_channels), dtype=self.variable_dtype)

    def get_config(self) -> dict[str, Any]:
        fields = ("out_channels", "grid", "block", "patch_size")
        return {**super().get_config(), **{field: getattr(self, field) for field in fields}}
