"""Patch and position embeddings."""

import math
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from keras_nest.layers.base import Layer
from keras_nest.layers.initializers import kernel_initializer
from keras_nest.types import Shape, Size, pair

Scale = tuple[float, float]


@keras.saving.register_keras_serializable(package="keras_nest")
class PatchEmbedding(Layer):
    """Linear embedding of non-overlapping patches: (B, H, W, in_channels) -> (B, H / p, W / p, C).

    Source: reference module `PatchEmbedding`, a convolution with kernel = stride = p and bias.

    Args:
        embedding_dim: output channels C.
        patch_size: side p of a patch in pixels.
        **kwargs: the usual layer arguments.
    """

    def __init__(self, embedding_dim: int, patch_size: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.embedding_dim, self.patch_size = embedding_dim, patch_size

    def build(self, input_shape: Shape) -> None:
        self.conv = keras.layers.Conv2D(
            self.embedding_dim,
            self.patch_size,
            strides=self.patch_size,
            kernel_initializer=kernel_initializer(),
            name="Conv_0",
            dtype=self.dtype_policy,
        )
        self.conv.build(input_shape)

    def call(self, images: Any) -> Any:
        return self.conv(images)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        batch, height, width, _ = input_shape
        return batch, height // self.patch_size, width // self.patch_size, self.embedding_dim

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "embedding_dim": self.embedding_dim, "patch_size": self.patch_size}


@keras.saving.register_keras_serializable(package="keras_nest")
class PositionEmbedding(Layer):
    """Adds a learned vector to every token of every block: (B, T, N, C) -> the same.

    Source: reference module `PositionEmbedding`; the variable is (1, T, N, C), a separate value for each block.

    Args:
        grid: number of blocks along height and width, T = grid[0] * grid[1].
        block: height and width of a block in tokens, N = block[0] * block[1].
        **kwargs: the usual layer arguments.
    """

    def __init__(self, grid: Size, block: Size, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.grid, self.block = pair(grid), pair(block)

    def build(self, input_shape: Shape) -> None:
        self.pos_embedding = self.add_weight(
            name="pos_embedding", shape=(1, *input_shape[1:]), initializer=kernel_initializer()
        )

    def call(self, x: Any) -> Any:
        return x + self.pos_embedding

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "grid": self.grid, "block": self.block}

    def source_block(self, value: np.ndarray, scale: Scale | None = None) -> Size:
        """Height and width of the blocks in the position embedding of another image size; see `source_block`."""
        return source_block(value.shape[2], self.block, scale)

    def resize(self, value: np.ndarray, block: Size, method: str = "block") -> np.ndarray:
        """Fits the position embedding of another image size to this layer.

        Args:
            value: (1, T, N', C) on the same grid of blocks.
            block: height and width of its blocks in tokens, N' = block[0] * block[1].
            method: "block" resizes every block for itself, as the reference does; "grid" resizes the un-blocked map,
                so that neighboring blocks stay continuous. Both are linear with aligned corners. timm and
                transformers have no way of their own.

        Returns:
            (1, T, N, C), dtype of `value`.

        Raises:
            ValueError: another number of blocks or channels, or a method that NesT does not have.
        """
        if method not in ("block", "grid"):
            raise ValueError(
                f"{method} does not resize the position embeddings of NesT; resize_method is block or grid."
            )
        blocks, tokens, channels = self.pos_embedding.shape[1:]
        if value.shape[:2] + value.shape[3:] != (1, blocks, channels):
            raise ValueError(
                f"A position embedding of shape {value.shape} cannot be resized to {(1, blocks, tokens, channels)}: "
                "the number of blocks and the channels must agree."
            )
        if method == "grid":
            size = (self.grid[0] * self.block[0], self.grid[1] * self.block[1])
            return self._split_blocks(resize_maps(self._merge_blocks(value, block), size))
        return resize_maps(value.reshape(blocks, *block, channels), self.block).reshape(1, blocks, tokens, channels)

    def _merge_blocks(self, value: np.ndarray, block: Size) -> np.ndarray:
        """(1, T, N', C) -> (1, H', W', C), the un-blocked map."""
        rows, columns = self.grid
        maps = value.reshape(rows, columns, *block, -1).transpose(0, 2, 1, 3, 4)
        return maps.reshape(1, rows * block[0], columns * block[1], -1)

    def _split_blocks(self, maps: np.ndarray) -> np.ndarray:
        """(1, H, W, C) -> (1, T, N, C)."""
        (rows, columns), (block_h, block_w) = self.grid, self.block
        blocks = maps.reshape(rows, block_h, columns, block_w, -1).transpose(0, 2, 1, 3, 4)
        return blocks.reshape(1, rows * columns, block_h * block_w, -1)


def source_block(tokens: int, block: Size, scale: Scale | None = None) -> Size:
    """Height and width of a block of which a checkpoint only tells the number of tokens.

    Args:
        tokens: tokens in the block.
        block: the model's own block.
        scale: tokens of the checkpoint's images over the model's, along height and width. None if the checkpoint does
            not tell; then it has the model's own block where the number is the same, and else a square one.

    Raises:
        ValueError: neither is possible, or the number is not the one that `scale` makes.
    """
    side = math.isqrt(tokens)
    if scale is not None:
        block = (round(block[0] * scale[0]), round(block[1] * scale[1]))
        if math.prod(block) != tokens:
            raise ValueError(f"{tokens} tokens are not the {block[0]} x {block[1]} of the checkpoint's image size.")
        return block
    if math.prod(block) == tokens:
        return block
    if side * side != tokens:
        raise ValueError(
            f"{tokens} tokens are not a square block, so their position embedding cannot be resized; give the "
            "image_size that the checkpoint was trained at, and what is then written as .keras or .npz tells it."
        )
    return side, side


def resize_maps(maps: np.ndarray, size: Size, method: str = "block") -> np.ndarray:
    """Resizes maps: (maps, H, W, C) -> (maps, *size, C), interpolated in float64, in the dtype of `maps`.

    Args:
        maps: to be resized.
        size: height and width.
        method: "timm" and "transformers" are bicubic, as PyTorch's `interpolate` is with and without antialias; others
            linear, corners onto corners.
    """
    matrix = _BICUBIC.get(method, _interpolation)
    rows, columns = (matrix(old, new) for old, new in zip(maps.shape[1:3], size, strict=True))
    return np.einsum("yh,mhwc,xw->myxc", rows, maps, columns, optimize=True).astype(maps.dtype)


def _interpolation(source: int, target: int) -> np.ndarray:
    """Matrix (target, source), float64, that interpolates linearly with aligned corners."""
    positions = np.linspace(0, source - 1, target)
    left = np.minimum(positions.astype(int), max(source - 2, 0))
    matrix = np.zeros((target, source))
    index = np.arange(target)
    matrix[index, left] = 1 - (positions - left)
    matrix[index, np.minimum(left + 1, source - 1)] += positions - left
    return matrix


def _antialiased(source: int, target: int) -> np.ndarray:
    """Bicubic matrix (target, source) of PyTorch with antialias: the kernel grows as the map shrinks, cut at edges."""
    scale = max(source / target, 1)
    weights = _cubic((np.arange(source) + 0.5 - _centers(source, target)) / scale, -0.5)
    return weights / weights.sum(axis=1, keepdims=True)


def _clamped(source: int, target: int) -> np.ndarray:
    """Bicubic matrix (target, source) of PyTorch without antialias: four neighbors, the edge repeated."""
    positions = _centers(source, target) - 0.5
    matrix = np.zeros((target, source))
    for offset in range(-1, 3):
        neighbor = np.floor(positions) + offset
        column = np.clip(neighbor, 0, source - 1).astype(int)
        np.add.at(matrix, (np.arange(target)[:, None], column), _cubic(positions - neighbor, -0.75))
    return matrix


def _centers(source: int, target: int) -> np.ndarray:
    """Where the centers of the target's cells lie in the source, (target, 1)."""
    return (np.arange(target)[:, None] + 0.5) * source / target


def _cubic(distance: np.ndarray, a: float) -> np.ndarray:
    """Keys' kernel of cubic convolution with the slope `a` at 1."""
    x = np.abs(distance)
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = a * (((x - 5) * x + 8) * x - 4)
    return np.where(x < 1, near, np.where(x < 2, far, 0))


_BICUBIC: dict[str, Callable[[int, int], np.ndarray]] = {"timm": _antialiased, "transformers": _clamped}
