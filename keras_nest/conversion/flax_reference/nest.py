"""The official NesT as Flax (Linen) modules, the oracle that conversions are checked against.

Zhang et al., "Nested Hierarchical Transformer: Towards Accurate, Data-Efficient and Interpretable Visual
Understanding", AAAI 2022. The parameter tree has the paths and shapes of the published checkpoints: submodules are
left to Flax to name (`EncoderNDBlock_0`, `EncoderNDBlock_1`, ... over the whole network), so the class names below and
the order in which submodules are made are part of the format.

Shapes: B batch, H W height and width of a map, T blocks, N tokens per block, C channels, h heads, d head size.
Everything is float32 unless the caller passes another dtype.
"""

import functools
import math
from collections.abc import Callable
from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from keras_nest.conversion.flax_reference.modules import register_module

AttentionType = Literal["local_multi_head", "local_multi_query"]
NormType = Literal["LN", "BN", "GN"]

# Cut at two deviations first, scaled by 0.02 afterwards: no value exceeds 0.04, and the actual deviation is 0.0176.
KERNEL_INIT = nn.initializers.truncated_normal(stddev=0.02)

LayerNorm = functools.partial(nn.LayerNorm, epsilon=1e-6)


def to_blocks(x: jax.Array, grid: int) -> jax.Array:
    """Cuts maps (B, H, W, C) into grid x grid blocks: (B, T, N, C), blocks and the tokens inside them row by row."""
    batch, height, width, channels = x.shape
    x = x.reshape(batch, grid, height // grid, grid, width // grid, channels).swapaxes(2, 3)
    return x.reshape(batch, grid**2, -1, channels)


def from_blocks(x: jax.Array, block_shape: tuple[int, int]) -> jax.Array:
    """Joins blocks (B, T, N, C) of `block_shape` = (rows, columns) tokens to maps (B, H, W, C), undoing `to_blocks`."""
    batch, blocks, _, channels = x.shape
    grid, (rows, columns) = math.isqrt(blocks), block_shape
    x = x.reshape(batch, grid, grid, rows, columns, channels).swapaxes(2, 3)
    return x.reshape(batch, grid * rows, grid * columns, channels)


def draw_keep_mask(key: jax.Array, keep: float, batch: int) -> jax.Array:
    """Draws which samples keep a residual branch: (B, 1, 1, 1) bool, True with probability `keep`."""
    return jax.random.bernoulli(key, keep, (batch, 1, 1, 1))


@register_module
class NesT(nn.Module):
    """Nested Hierarchical Transformer.

    Level i works on a grid of 2**(levels - 1 - i) x 2**(levels - 1 - i) blocks; attention stays inside a block. The
    block shape is the same at every level and follows from the image size, which need not be square.

    Fields carry the names of the reference configuration.

    Attributes:
        num_classes: classes; 0 leaves out the classifier.
        embedding_dim: channels of the first level.
        num_heads: heads of the first level.
        num_layers_per_block: encoder layers of each level; its length is the number of levels.
        init_patch_embed_size: side in pixels of the patches that become tokens.
        scale_hidden_dims: factor by which channels and heads grow from level to level; None keeps them.
        attn_type: keys and values per head ("local_multi_head") or shared by all heads ("local_multi_query").
        norm_type: LayerNorm, BatchNorm or GroupNorm in encoder layers and at the end; pooling has LayerNorm always.
        mlp_ratio: hidden size of the MLPs over their channels.
        qkv_bias: whether queries, keys and values have a bias.
        attn_drop: dropout rate of the attention weights.
        proj_drop: dropout rate after attention and inside the MLPs.
        stochastic_depth_drop: drop-path rate of the last encoder layer; rates grow linearly from 0 at the first.
        activation: of the MLPs, "gelu_tanh" (the approximation) or "gelu" (exact).
    """

    num_classes: int = 1000
    embedding_dim: int = 96
    num_heads: int = 3
    num_layers_per_block: tuple[int, ...] = (2, 2, 8)
    init_patch_embed_size: int = 4
    scale_hidden_dims: int | None = None
    attn_type: AttentionType = "local_multi_head"
    norm_type: NormType = "LN"
    mlp_ratio: float = 4
    qkv_bias: bool = True
    attn_drop: float = 0.0
    proj_drop: float = 0.0
    stochastic_depth_drop: float = 0.0
    activation: str = "gelu_tanh"

    @nn.compact
    def __call__(self, images: jax.Array, train: bool = False) -> jax.Array:
        """Classifies images.

        Sows into the collection "intermediates": "level_1", "level_2", ..., the map (B, H, W, C) after the last
        encoder layer of each level and before pooling; "pre_logits", the pooled vector (B, C).

        Args:
            images: (B, H, W, 3), normalized.
            train: whether dropout and drop path are active (random stream "dropout") and BatchNorm uses the batch.

        Returns:
            Logits (B, num_classes), or the pooled vector (B, C) if num_classes is 0.

        Raises:
            ValueError: if the image size does not cut into equal blocks.
        """
        levels = len(self.num_layers_per_block)
        grids = [2 ** (levels - 1 - level) for level in range(levels)]
        block_shape = self._block_shape(images, grids[0])
        rates = iter(np.linspace(0.0, self.stochastic_depth_drop, sum(self.num_layers_per_block)))

        x = PatchEmbedding(self.embedding_dim, self.init_patch_embed_size)(images)
        x = to_blocks(x, grids[0])
        for level, layers in enumerate(self.num_layers_per_block):
            growth = (self.scale_hidden_dims or 1) ** level
            if level > 0:
                x = ConvPool(self.embedding_dim * growth, block_shape, grids[level])(x)
            x = PositionEmbedding()(x)
            for _ in range(layers):
                x = self._encoder_layer(self.num_heads * growth, float(next(rates)))(x, train)
            self.sow("intermediates", f"level_{level + 1}", from_blocks(x, block_shape))

        x = norm(self.norm_type, train)(x)
        x = x.mean(axis=(1, 2))
        self.sow("intermediates", "pre_logits", x)
        return nn.Dense(self.num_classes, kernel_init=KERNEL_INIT)(x) if self.num_classes else x

    def _block_shape(self, images: jax.Array, grid: int) -> tuple[int, int]:
        """Rows and columns of tokens in a block."""
        _, height, width, _ = images.shape
        unit = self.init_patch_embed_size * grid
        if height % unit or width % unit:
            raise ValueError(f"The image size must be a multiple of {unit}, but is {height}x{width}.")
        return height // unit, width // unit

    def _encoder_layer(self, num_heads: int, drop_path: float) -> "EncoderNDBlock":
        return EncoderNDBlock(
            num_heads=num_heads,
            attn_type=self.attn_type,
            norm_type=self.norm_type,
            mlp_ratio=self.mlp_ratio,
            qkv_bias=self.qkv_bias,
            attn_drop=self.attn_drop,
            proj_drop=self.proj_drop,
            drop_path=drop_path,
            activation=self.activation,
        )


class PatchEmbedding(nn.Module):
    """Turns patches of `size` x `size` pixels into tokens of `features` channels."""

    features: int
    size: int

    @nn.compact
    def __call__(self, images: jax.Array) -> jax.Array:
        """Maps images (B, size*H, size*W, 3) to (B, H, W, C)."""
        window = (self.size, self.size)
        return nn.Conv(self.features, window, strides=window, padding="VALID", kernel_init=KERNEL_INIT)(images)


class PositionEmbedding(nn.Module):
    """Adds a learned value per block, token and channel."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps (B, T, N, C) to the same shape."""
        return x + self.param("pos_embedding", KERNEL_INIT, (1, *x.shape[1:]))


class ConvPool(nn.Module):
    """Merges 2x2 blocks into one, leaving the number of tokens per block as it was; sees across block borders."""

    features: int
    block_shape: tuple[int, int]
    grid: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps (B, 4*T, N, C) to (B, T, N, features), where T = grid**2."""
        x = from_blocks(x, self.block_shape)
        x = nn.Conv(self.features, (3, 3), padding="SAME", kernel_init=KERNEL_INIT)(x)
        x = LayerNorm()(x)
        # On the even sides that occur here, SAME pads only at the bottom and on the right, with -inf.
        x = nn.max_pool(x, (3, 3), strides=(2, 2), padding="SAME")
        return to_blocks(x, self.grid)


class EncoderNDBlock(nn.Module):
    """Pre-norm transformer layer on every block by itself; see `NesT` for the fields."""

    num_heads: int
    attn_type: AttentionType
    norm_type: NormType
    mlp_ratio: float
    qkv_bias: bool
    attn_drop: float
    proj_drop: float
    drop_path: float
    activation: str

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Maps (B, T, N, C) to the same shape."""
        y = norm(self.norm_type, train)(x)
        y = ATTENTION[self.attn_type](self.num_heads, self.qkv_bias, self.attn_drop)(y, train)
        y = nn.Dropout(self.proj_drop, deterministic=not train)(y)
        x = x + self._drop_path(y, train)

        y = norm(self.norm_type, train)(x)
        y = MlpBlock(self.mlp_ratio, self.proj_drop, self.activation)(y, train)
        return x + self._drop_path(y, train)

    def _drop_path(self, branch: jax.Array, train: bool) -> jax.Array:
        """Zeroes the branch of whole samples and scales up the others, so that the expectation stays the same."""
        if not train or self.drop_path == 0.0:
            return branch
        keep = 1.0 - self.drop_path
        mask = draw_keep_mask(self.make_rng("dropout"), keep, branch.shape[0])
        return jnp.where(mask, branch / keep, 0.0)


class BlockAttention(nn.Module):
    """Self-attention among the tokens of each block; subclasses say where keys and values come from."""

    num_heads: int
    qkv_bias: bool
    attn_drop: float

    def keys_and_values(self, x: jax.Array, head_dim: int) -> jax.Array:
        """Maps (B, T, N, C) to (B, T, N, h or 1, 2*d), keys before values."""
        raise NotImplementedError

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Maps (B, T, N, C) to the same shape."""
        channels = x.shape[-1]
        if channels % self.num_heads:
            raise ValueError(f"{channels} channels do not divide into {self.num_heads} heads.")
        head_dim = channels // self.num_heads

        query = nn.DenseGeneral((self.num_heads, head_dim), use_bias=self.qkv_bias, kernel_init=KERNEL_INIT)(x)
        query = query / math.sqrt(head_dim)
        key, value = jnp.split(self.keys_and_values(x, head_dim), 2, axis=-1)
        query, key, value = (a.swapaxes(-2, -3) for a in (query, key, value))  # heads before tokens: (B, T, h, N, d)
        weights = nn.softmax(query @ key.mT)
        weights = nn.Dropout(self.attn_drop, deterministic=not train)(weights)
        heads = weights @ value

        proj_kernel = self.param("proj_kernel", KERNEL_INIT, (self.num_heads, head_dim, channels))
        bias = self.param("bias", nn.initializers.zeros, (channels,))
        return jnp.einsum("bthnd,hdc->btnc", heads, proj_kernel) + bias


class MultiHeadAttention(BlockAttention):
    """Attention in which every head has its own keys and values."""

    def keys_and_values(self, x: jax.Array, head_dim: int) -> jax.Array:
        """Maps (B, T, N, C) to (B, T, N, h, 2*d)."""
        return nn.DenseGeneral((self.num_heads, 2 * head_dim), use_bias=self.qkv_bias, kernel_init=KERNEL_INIT)(x)


class MultiQueryAttention(BlockAttention):
    """Attention in which all heads share one set of keys and values."""

    def keys_and_values(self, x: jax.Array, head_dim: int) -> jax.Array:
        """Maps (B, T, N, C) to (B, T, N, 1, 2*d)."""
        shared = nn.Dense(2 * head_dim, use_bias=self.qkv_bias, kernel_init=KERNEL_INIT)(x)
        return shared[..., None, :]


ATTENTION: dict[AttentionType, type[BlockAttention]] = {
    "local_multi_head": MultiHeadAttention,
    "local_multi_query": MultiQueryAttention,
}


class MlpBlock(nn.Module):
    """Two dense layers with GELU between them."""

    mlp_ratio: float
    proj_drop: float
    activation: str

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Maps (..., C) to the same shape."""
        y = nn.Dense(int(self.mlp_ratio * x.shape[-1]), kernel_init=KERNEL_INIT)(x)
        y = nn.gelu(y, approximate=self.activation == "gelu_tanh")
        y = nn.Dropout(self.proj_drop, deterministic=not train)(y)
        y = nn.Dense(x.shape[-1], kernel_init=KERNEL_INIT)(y)
        return nn.Dropout(self.proj_drop, deterministic=not train)(y)


def norm(norm_type: NormType, train: bool) -> Callable[[jax.Array], jax.Array]:
    """Makes the normalization of encoder layers: (B, T, N, C) to the same shape."""
    if norm_type == "LN":
        return LayerNorm()
    if norm_type == "BN":
        return nn.BatchNorm(use_running_average=not train, momentum=0.9, epsilon=1e-5)
    if norm_type == "GN":
        return nn.GroupNorm(num_groups=32, epsilon=1e-6)
    raise ValueError(f"norm_type must be LN, BN or GN, but is {norm_type!r}.")
