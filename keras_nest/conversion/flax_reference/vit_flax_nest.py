"""NesT of the vit-flax package as Flax (Linen) modules, the oracle that conversions are checked against.

A second architecture after Zhang et al., "Nested Hierarchical Transformer", AAAI 2022. It differs from the official
one (`nest.py`) in ways that make the parameters incompatible: one position value per token, LayerNorm epsilon 1e-5,
1x1 convolutions without bias instead of dense layers. The parameter tree has the paths and shapes of the original:
Flax names the submodules, so class names and the order in which submodules are made are part of the format.

Shapes: B batch, H W height and width of a map, T blocks, C channels, h heads, d head size. Blocks are part of the
batch axis: (B*T, rows, columns, C). Everything is float32 unless the caller passes another dtype.
"""

import functools
import math
from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp

from keras_nest.conversion.flax_reference.modules import register_module

PointwiseConv = functools.partial(nn.Conv, kernel_size=(1, 1))


def to_blocks(x: jax.Array, grid: int) -> jax.Array:
    """Cuts maps (B, H, W, C) into grid x grid blocks: (B*T, rows, columns, C), T = grid**2, blocks row by row."""
    batch, height, width, channels = x.shape
    x = x.reshape(batch, grid, height // grid, grid, width // grid, channels).swapaxes(2, 3)
    return x.reshape(batch * grid**2, height // grid, width // grid, channels)


def from_blocks(x: jax.Array, grid: int) -> jax.Array:
    """Joins blocks (B*T, rows, columns, C) to maps (B, H, W, C), undoing `to_blocks`."""
    _, rows, columns, channels = x.shape
    x = x.reshape(-1, grid, grid, rows, columns, channels).swapaxes(2, 3)
    return x.reshape(-1, grid * rows, grid * columns, channels)


@register_module
class ViTFlaxNesT(nn.Module):
    """Nested Hierarchical Transformer as vit-flax writes it.

    In contrast to the original, whose dropout cannot be switched off, dropout is active only with `train`.

    Fields carry the names of the original.

    Attributes:
        image_size: image side, or (height, width), in pixels that the position embeddings are made for; smaller
            images use a part of them.
        patch_size: side in pixels of the patches that become tokens.
        dim: channels of the first level; they double from level to level.
        heads: heads of the first level; they double too.
        num_hierarchies: number of levels.
        block_repeats: layers of each level, or one number for all levels.
        mlp_mult: hidden size of the MLPs over their channels.
        dropout: dropout rate after attention and inside the MLPs.
        num_classes: classes; 0 leaves out the classifier.
    """

    image_size: int | tuple[int, int]
    patch_size: int
    dim: int
    heads: int
    num_hierarchies: int
    block_repeats: int | tuple[int, ...]
    mlp_mult: int = 4
    dropout: float = 0.0
    num_classes: int = 1000

    @nn.compact
    def __call__(self, images: jax.Array, train: bool = False) -> jax.Array:
        """Classifies images.

        Sows into the collection "intermediates": "level_1", "level_2", ..., the map (B, H, W, C) after the last layer
        of each level and before pooling; "pre_logits", the pooled vector (B, C).

        Args:
            images: (B, H, W, 3), normalized; H and W at most image_size.
            train: whether dropout is active (random stream "dropout").

        Returns:
            Logits (B, num_classes), or the pooled vector (B, C) if num_classes is 0.

        Raises:
            ValueError: if the image size does not cut into equal blocks, or is larger than image_size.
        """
        levels = self.num_hierarchies
        repeats = (self.block_repeats,) * levels if isinstance(self.block_repeats, int) else self.block_repeats
        largest_grid = 2 ** (levels - 1)
        self._check_size(images, self.patch_size * largest_grid)
        sides = self._sides()
        block_tokens = math.prod(side // self.patch_size // largest_grid for side in sides)

        # What blocks are to a map, patches are to an image: their pixels, (p1, p2, c), become the channels of a token.
        x = self._patches(images)
        x = PointwiseConv(self.dim)(x)
        for level, depth in enumerate(repeats):
            grid, growth = 2 ** (levels - 1 - level), 2**level
            if level > 0:
                x = Aggregate(self.dim * growth)(x)
            x = to_blocks(x, grid)
            x = Transformer(block_tokens, depth, self.heads * growth, self.mlp_mult, self.dropout)(x, train)
            x = from_blocks(x, grid)
            self.sow("intermediates", f"level_{level + 1}", x)

        x = LayerNorm()(x)
        x = x.mean(axis=(1, 2))
        self.sow("intermediates", "pre_logits", x)
        return nn.Dense(self.num_classes)(x) if self.num_classes else x

    def _check_size(self, images: jax.Array, unit: int) -> None:
        _, height, width, _ = images.shape
        largest = self._sides()
        if height % unit or width % unit or height > largest[0] or width > largest[1]:
            raise ValueError(
                f"The image size must be a multiple of {unit} and at most {self.image_size}, but is {height}x{width}."
            )

    def _sides(self) -> tuple[int, int]:
        return (self.image_size,) * 2 if isinstance(self.image_size, int) else self.image_size

    def _patches(self, images: jax.Array) -> jax.Array:
        """Maps images (B, p*H, p*W, 3) to flattened patches (B, H, W, p*p*3)."""
        batch, height, width, channels = images.shape
        side = self.patch_size
        x = images.reshape(batch, height // side, side, width // side, side, channels).swapaxes(2, 3)
        return x.reshape(batch, height // side, width // side, side * side * channels)


class Aggregate(nn.Module):
    """Halves the side of a map (B, H, W, C) and changes its channels to `features`."""

    features: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps (B, H, W, C) to (B, H/2, W/2, features)."""
        x = nn.Conv(self.features, (3, 3), padding="SAME")(x)
        x = LayerNorm()(x)
        return nn.max_pool(x, (3, 3), strides=(2, 2), padding="SAME")


class Transformer(nn.Module):
    """The layers of one level, on every block by itself."""

    block_tokens: int
    depth: int
    heads: int
    mlp_mult: int
    dropout: float

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Maps (B*T, rows, columns, C) to the same shape."""
        _, rows, columns, _ = x.shape
        # One number per token: every LayerNorm removes it again, so only the pooling convolution notices it.
        pos_emb = self.param("pos_emb", nn.initializers.zeros, (self.block_tokens,))
        x = x + pos_emb[: rows * columns].reshape(1, rows, columns, 1)
        for _ in range(self.depth):
            x = x + PreNorm(Attention(self.heads, self.dropout))(x, train)
            x = x + PreNorm(FeedForward(self.mlp_mult, self.dropout))(x, train)
        return x


class PreNorm(nn.Module):
    """Normalizes the input of `inner`, whose parameters are not below this module but beside it."""

    inner: Callable[[jax.Array, bool], jax.Array]

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Maps (B*T, rows, columns, C) to the same shape."""
        return self.inner(LayerNorm()(x), train)


class Attention(nn.Module):
    """Multi-head self-attention among the tokens of each block."""

    heads: int
    dropout: float

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Maps (B*T, rows, columns, C) to the same shape."""
        *spatial, channels = x.shape
        head_dim = channels // self.heads
        inner_dim = self.heads * head_dim  # less than C where heads do not divide it

        qkv = PointwiseConv(3 * inner_dim, use_bias=False)(x)
        qkv = qkv.reshape(spatial[0], -1, 3, self.heads, head_dim)
        query, key, value = jnp.moveaxis(qkv, (2, 3), (0, 2))  # each (B*T, h, tokens, d)
        weights = nn.softmax(query @ key.mT * head_dim**-0.5)
        heads = (weights @ value).swapaxes(1, 2).reshape(*spatial, inner_dim)

        x = PointwiseConv(channels, use_bias=False)(heads)
        return nn.Dropout(self.dropout, deterministic=not train)(x)


class FeedForward(nn.Module):
    """Two 1x1 convolutions with GELU (its tanh approximation) between them."""

    mlp_mult: int
    dropout: float

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Maps (..., C) to the same shape."""
        y = PointwiseConv(self.mlp_mult * x.shape[-1], use_bias=False)(x)
        y = nn.gelu(y, approximate=True)
        y = nn.Dropout(self.dropout, deterministic=not train)(y)
        y = PointwiseConv(x.shape[-1], use_bias=False)(y)
        return nn.Dropout(self.dropout, deterministic=not train)(y)


class LayerNorm(nn.Module):
    """Layer normalization over channels with parameters `g` and `b` of shape (1, 1, 1, C) and epsilon 1e-5."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps (B, H, W, C) to the same shape."""
        shape = (1, 1, 1, x.shape[-1])
        scale = self.param("g", nn.initializers.ones, shape)
        bias = self.param("b", nn.initializers.zeros, shape)
        mean = x.mean(axis=-1, keepdims=True)
        variance = x.var(axis=-1, keepdims=True)
        return (x - mean) / jnp.sqrt(variance + 1e-5) * scale + bias
