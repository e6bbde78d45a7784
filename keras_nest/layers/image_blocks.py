"""Images to non-overlapping blocks of tokens and back.

Blocks are row-major over the grid, tokens row-major inside a block. Every step is a reshape or a 4-D transpose, which
is what fast kernels on all backends (XNNPACK among them) accept.
"""

from typing import Any

import keras
from keras import ops

from keras_nest.layers.base import Layer
from keras_nest.types import Shape, Size, pair


def block_images(images: Any, grid: Size) -> Any:
    """Cuts maps into a grid of blocks.

    Args:
        images: (B, H, W, C), with static H, W and C.
        grid: number of blocks along height and width; they divide H and W.

    Returns:
        (B, T, N, C) with T = grid[0] * grid[1] blocks of N = (H / grid[0]) * (W / grid[1]) tokens.
    """
    height, width, channels = images.shape[1:]
    rows, columns = grid
    block_h, block_w = height // rows, width // columns
    if columns > 1:
        x = ops.reshape(images, (-1, block_h, columns, block_w * channels))  # B*rows
        images = ops.transpose(x, (0, 2, 1, 3))
    return ops.reshape(images, (-1, rows * columns, block_h * block_w, channels))


def unblock_images(blocks: Any, grid: Size, block: Size) -> Any:
    """Puts blocks back together: the inverse of `block_images`.

    Args:
        blocks: (B, T, N, C), with static T, N and C.
        grid: number of blocks along height and width; T = grid[0] * grid[1].
        block: height and width of a block in tokens; N = block[0] * block[1].

    Returns:
        (B, grid[0] * block[0], grid[1] * block[1], C).
    """
    channels = blocks.shape[-1]
    (rows, columns), (block_h, block_w) = grid, block
    if columns > 1:
        x = ops.reshape(blocks, (-1, columns, block_h, block_w * channels))  # B*rows
        blocks = ops.transpose(x, (0, 2, 1, 3))
    return ops.reshape(blocks, (-1, rows * block_h, columns * block_w, channels))


@keras.saving.register_keras_serializable(package="keras_nest")
class BlockImages(Layer):
    """`block_images` as a layer: (B, H, W, C) -> (B, T, N, C).

    Args:
        grid: number of blocks along height and width.
        **kwargs: the usual layer arguments.
    """

    def __init__(self, grid: Size, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.grid = pair(grid)

    def call(self, images: Any) -> Any:
        return block_images(images, self.grid)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        batch, height, width, channels = input_shape
        blocks = self.grid[0] * self.grid[1]
        return batch, blocks, height * width // blocks, channels

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "grid": self.grid}


@keras.saving.register_keras_serializable(package="keras_nest")
class UnblockImages(Layer):
    """`unblock_images` as a layer: (B, T, N, C) -> (B, H, W, C).

    Args:
        grid: number of blocks along height and width.
        block: height and width of a block in tokens.
        **kwargs: the usual layer arguments.
    """

    def __init__(self, grid: Size, block: Size, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.grid, self.block = pair(grid), pair(block)

    def call(self, blocks: Any) -> Any:
        return unblock_images(blocks, self.grid, self.block)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        (rows, columns), (block_h, block_w) = self.grid, self.block
        return input_shape[0], rows * block_h, columns * block_w, input_shape[-1]

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "grid": self.grid, "block": self.block}
