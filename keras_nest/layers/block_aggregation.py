"""Block aggregation: how neighboring blocks exchange information between two levels."""

from typing import Any

import keras
from keras import ops

from keras_nest.layers.base import Layer
from keras_nest.layers.image_blocks import block_images
from keras_nest.layers.initializers import kernel_initializer
from keras_nest.layers.normalization import norm
from keras_nest.types import Shape, Size, pair


def max_pool(x: Any) -> Any:
    """3x3 max-pool of stride 2: (B, H, W, C) -> (B, ceil(H / 2), ceil(W / 2), C).

    SAME padding: an even side is padded with minus infinity at the bottom and right only.
    """
    return ops.max_pool(x, 3, strides=2, padding="same")


@keras.saving.register_keras_serializable(package="keras_nest")
class ConvPool(Layer):
    """3x3 convolution, layer normalization and max-pool on the whole map, cut into blocks again.

    (B, H, W, C) -> (B, T, N, C') with T = grid[0] * grid[1] and N = (H / 2 / grid[0]) * (W / 2 / grid[1]).

    Source: NesT paper, section 3.2; reference module `ConvPool`. Its norm is a LayerNorm whatever `norm_type` is.

    Args:
        output_dim: channels C' of the output.
        grid: number of blocks along height and width after pooling.
        **kwargs: the usual layer arguments.
    """

    def __init__(self, output_dim: int, grid: Size, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.output_dim, self.grid = output_dim, pair(grid)

    def build(self, input_shape: Shape) -> None:
        policy = self.dtype_policy
        self.conv = keras.layers.Conv2D(
            self.output_dim,
            3,
            padding="same",
            kernel_initializer=self.kernel_initializer(),
            name="Conv_0",
            dtype=policy,
        )
        self.conv.build(input_shape)
        self.norm = self.create_norm()
        self.norm.build((*input_shape[:-1], self.output_dim))

    def kernel_initializer(self) -> Any:
        """Initial values of the convolution."""
        return kernel_initializer()

    def create_norm(self) -> keras.layers.Layer:
        """Normalization between convolution and pooling."""
        return norm("LN", dtype=self.dtype_policy)

    def aggregate(self, x: Any) -> Any:
        """(B, H, W, C) -> (B, H / 2, W / 2, C')."""
        return max_pool(self.norm(self.conv(x)))

    def call(self, x: Any) -> Any:
        return block_images(self.aggregate(x), self.grid)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        batch, height, width, _ = input_shape
        blocks = self.grid[0] * self.grid[1]
        return batch, blocks, (height // 2) * (width // 2) // blocks, self.output_dim

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "output_dim": self.output_dim, "grid": self.grid}
