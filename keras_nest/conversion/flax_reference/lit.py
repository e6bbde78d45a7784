"""LiT's towers as Flax (Linen) modules, the oracle that conversions are checked against.

Zhai et al., "LiT: Zero-Shot Transfer with Locked-image text Tuning", CVPR 2022. The parameter tree has the paths and
shapes of google-research/vision_transformer, whose BERT is that of google/flaxformer: names of submodules are part of
the format.

Shapes: B batch, N tokens, C channels. Everything is float32.
"""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp

from keras_nest.conversion.flax_reference.modules import register_module
from keras_nest.conversion.flax_reference.vit import Encoder

LayerNorm = functools.partial(nn.LayerNorm, epsilon=1e-12, name="layer_norm")
Dense = functools.partial(nn.Dense, kernel_init=nn.initializers.truncated_normal(stddev=0.02))


class LiT(nn.Module):
    """An image and a text tower.

    Attributes:
        img: maps images to (B, C).
        txt: maps token ids to (B, C).
    """

    img: nn.Module
    txt: nn.Module

    @nn.compact
    def __call__(self, images: jax.Array, tokens: jax.Array) -> dict[str, jax.Array]:
        """Embeds images and texts, whose numbers may differ.

        Args:
            images: (B, H, W, channels), normalized.
            tokens: (B, N) ids.

        Returns:
            "zimg" and "ztxt", embeddings (B, C) of length one, and the temperature "t" (1,).
        """
        temperature = jnp.exp(self.param("t", nn.initializers.zeros, (1,)))
        return {"zimg": normalize(self.img(images)), "ztxt": normalize(self.txt(tokens)), "t": temperature}


def normalize(x: jax.Array) -> jax.Array:
    """Divides vectors (B, C) by their length plus 1e-8."""
    return x / (jnp.linalg.norm(x, axis=-1, keepdims=True) + 1e-8)


@register_module
class Bert(nn.Module):
    """BERT as a text tower.

    Attributes:
        out_dim: outputs; None leaves out the head.
        vocab_size: rows of the token embedding.
        hidden_size: channels of the tokens.
        num_layers: encoder layers.
        num_heads: heads of the attention.
        mlp_dim: hidden size of the MLPs.
        max_length: rows of the position embedding.
        num_segments: rows of the segment embedding.
    """

    out_dim: int | None = None
    vocab_size: int = 30522
    hidden_size: int = 768
    num_layers: int = 12
    num_heads: int = 12
    mlp_dim: int = 3072
    max_length: int = 512
    num_segments: int = 2

    @nn.compact
    def __call__(self, tokens: jax.Array) -> jax.Array:
        """Maps ids (B, N) to (B, out_dim), or to the first token (B, C) without a head."""
        rows = (self.vocab_size, self.max_length, self.num_segments)
        encoder = BertEncoder(rows, self.hidden_size, self.num_layers, self.num_heads, self.mlp_dim)
        x = encoder(tokens)[:, 0]
        return x if self.out_dim is None else nn.Dense(self.out_dim, name="head")(x)


class BertEncoder(nn.Module):
    """Embeddings and post-norm layers; `rows` of the token, position and segment embeddings."""

    rows: tuple[int, int, int]
    hidden_size: int
    num_layers: int
    num_heads: int
    mlp_dim: int

    @nn.compact
    def __call__(self, tokens: jax.Array) -> jax.Array:
        """Maps ids (B, N) to (B, N, C)."""
        x = LayerNorm()(Embedder(self.rows, self.hidden_size, name="embedder")(tokens))
        is_text = tokens != 0
        visible = is_text[:, None, :, None] & is_text[:, None, None, :]
        return EncoderBlock(self.num_layers, self.num_heads, self.mlp_dim, name="encoder_block")(x, visible)


class Embedder(nn.Module):
    """Sum of token, position and segment embeddings."""

    rows: tuple[int, int, int]
    hidden_size: int

    @nn.compact
    def __call__(self, tokens: jax.Array) -> jax.Array:
        """Maps ids (B, N) to (B, N, C)."""
        positions = jnp.broadcast_to(jnp.arange(tokens.shape[1]), tokens.shape)
        ids = {"token": tokens, "position": positions, "segment": jnp.zeros_like(tokens)}
        x = jnp.zeros((*tokens.shape, self.hidden_size))
        for rows, (kind, values) in zip(self.rows, ids.items(), strict=True):
            x = x + ClampedEmbed(rows, self.hidden_size, name=f"embedders_{kind}_ids")(values)
        return x


class ClampedEmbed(nn.Module):
    """Rows of a table; ids beyond the last one stand for it."""

    rows: int
    features: int

    @nn.compact
    def __call__(self, ids: jax.Array) -> jax.Array:
        """Maps ids (B, N) to (B, N, C)."""
        table = self.param("embedding", nn.initializers.truncated_normal(stddev=0.02), (self.rows, self.features))
        return jnp.take(table, ids, axis=0, mode="clip")


class EncoderBlock(nn.Module):
    """Gives the layers the first part of their path."""

    num_layers: int
    num_heads: int
    mlp_dim: int

    @nn.compact
    def __call__(self, x: jax.Array, visible: jax.Array) -> jax.Array:
        """Maps (B, N, C) and which keys (B, 1, N, N) a query sees to (B, N, C)."""
        return LayerSequence(self.num_layers, self.num_heads, self.mlp_dim, name="layer_sequence")(x, visible)


class LayerSequence(nn.Module):
    """One layer after the other."""

    num_layers: int
    num_heads: int
    mlp_dim: int

    @nn.compact
    def __call__(self, x: jax.Array, visible: jax.Array) -> jax.Array:
        """See `EncoderBlock`."""
        for index in range(self.num_layers):
            x = BertLayer(self.num_heads, self.mlp_dim, name=f"layers_{index}")(x, visible)
        return x


class BertLayer(nn.Module):
    """Attention, then MLP."""

    num_heads: int
    mlp_dim: int

    @nn.compact
    def __call__(self, x: jax.Array, visible: jax.Array) -> jax.Array:
        """See `EncoderBlock`."""
        x = AttentionBlock(self.num_heads, name="attention_block")(x, visible)
        return MlpBlock(self.mlp_dim, name="mlp_block")(x)


class AttentionBlock(nn.Module):
    """Attention with projection, added to the input, and the sum normalized."""

    num_heads: int

    @nn.compact
    def __call__(self, x: jax.Array, visible: jax.Array) -> jax.Array:
        """See `EncoderBlock`."""
        y = SelfAttention(self.num_heads, name="attention_layer")(x, visible)
        return LayerNorm()(x + Dense(x.shape[-1], name="dense_layer")(y.reshape(x.shape)))


class SelfAttention(nn.Module):
    """Attention of several heads, without projection behind."""

    num_heads: int

    @nn.compact
    def __call__(self, x: jax.Array, visible: jax.Array) -> jax.Array:
        """Maps (B, N, C) to (B, N, heads, C / heads); a query that sees nothing takes the mean of all."""
        query, key, value = (
            Dense(x.shape[-1], name=name)(x).reshape(*x.shape[:2], self.num_heads, -1)
            for name in ("query", "key", "value")
        )
        scores = jnp.einsum("bqhd,bkhd->bhqk", query / query.shape[-1] ** 0.5, key)
        return jnp.einsum("bhqk,bkhd->bqhd", nn.softmax(scores + jnp.where(visible, 0.0, -1e10)), value)


class MlpBlock(nn.Module):
    """MLP, added to the input, and the sum normalized."""

    mlp_dim: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps (B, N, C) to the same shape."""
        y = Mlp(self.mlp_dim, name="mlp")(x)
        return LayerNorm()(x + Dense(x.shape[-1], name="dense_layer")(y))


class Mlp(nn.Module):
    """Dense layer with GELU (its tanh approximation)."""

    mlp_dim: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps (B, N, C) to (B, N, mlp_dim)."""
        return nn.gelu(Dense(self.mlp_dim, name="dense_layer")(x), approximate=True)


@register_module
class TextTransformer(nn.Module):
    """ViT's encoder as a text tower; padding is attended.

    Attributes:
        out_dim: outputs; None leaves out the head.
        vocab_size: rows of the token embedding; ids beyond give NaN.
        width: channels of the tokens.
        num_layers: encoder layers.
        num_heads: heads of the attention.
        mlp_dim: hidden size of the MLPs.
    """

    out_dim: int | None = None
    vocab_size: int = 16000
    width: int = 192
    num_layers: int = 12
    num_heads: int = 3
    mlp_dim: int = 768

    @nn.compact
    def __call__(self, tokens: jax.Array) -> jax.Array:
        """Maps ids (B, N) to (B, out_dim), or to the last token (B, C) without a head."""
        x = nn.Embed(self.vocab_size, self.width)(tokens)
        initial = nn.initializers.normal(stddev=self.width**-0.5)
        x = x + self.param("pos_embedding", initial, (1, *x.shape[1:]))
        encoder = Encoder(self.num_layers, self.num_heads, self.mlp_dim, add_position_embedding=False)
        x = encoder(x)[:, -1]
        return x if self.out_dim is None else nn.Dense(self.out_dim, name="head")(x)
