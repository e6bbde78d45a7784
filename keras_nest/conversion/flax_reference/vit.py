"""Vision Transformer and its hybrids as Flax (Linen) modules, the oracle that conversions are checked against.

Dosovitskiy et al., "An Image is Worth 16x16 Words: Transformers for Image Recognition at Scale", ICLR 2021. The
parameter tree has the paths and shapes of google-research/vision_transformer: where submodules have no name, Flax
names them (`LayerNorm_0`, `LayerNorm_1`, ...), so class names and the order in which submodules are made are part of
the format.

Shapes: B batch, H W height and width of a map, N tokens, C channels. Everything is float32 unless the caller passes
another dtype.
"""

import functools
from typing import Literal, get_args

import flax.linen as nn
import jax
import jax.numpy as jnp

from keras_nest.conversion.flax_reference.modules import register_module
from keras_nest.conversion.flax_reference.resnet import backbone

Classifier = Literal["token", "gap", "unpooled", "token_unpooled"]

LayerNorm = functools.partial(nn.LayerNorm, epsilon=1e-6)


@register_module
class VisionTransformer(nn.Module):
    """Vision Transformer, on patches of the image or on the map of a ResNet.

    Fields carry the names of the reference configuration, those of its `transformer` without and those of its
    `resnet` with a prefix.

    Attributes:
        num_classes: classes; 0 leaves out the head.
        patch_size: side, or (height, width), of the patches that become tokens, in pixels or in entries of the
            ResNet's map. What remains at the bottom and on the right is dropped.
        hidden_size: channels of the tokens.
        num_layers: encoder layers; None leaves out the transformer, position embedding and final norm included.
        num_heads: heads of the attention.
        mlp_dim: hidden size of the MLPs.
        classifier: what the head sees: a class token ("token"), the mean of all tokens ("gap"), or every token, without
            ("unpooled") or with ("token_unpooled") a class token among them.
        representation_size: channels of a layer with tanh before the head; None for none.
        dropout_rate: dropout rate after the position embedding, after attention and inside the MLPs.
        attention_dropout_rate: dropout rate of the attention weights.
        resnet_num_layers: units of each stage of the ResNet, () for its root alone, None for no ResNet.
        resnet_width_factor: channels of the ResNet's root over 64.
        head_bias_init: initial bias of the head.
        activation: of the MLPs, "gelu_tanh" (the approximation) or "gelu" (exact).
        resnet_variant: whose ResNet it is, "jax" or "timm"; see `resnet.py`.
    """

    num_classes: int = 1000
    patch_size: int | tuple[int, int] = 16
    hidden_size: int = 768
    num_layers: int | None = 12
    num_heads: int = 12
    mlp_dim: int = 3072
    classifier: Classifier = "token"
    representation_size: int | None = None
    dropout_rate: float = 0.0
    attention_dropout_rate: float = 0.0
    resnet_num_layers: tuple[int, ...] | None = None
    resnet_width_factor: float = 1
    head_bias_init: float = 0.0
    activation: str = "gelu_tanh"
    resnet_variant: str = "jax"

    @nn.compact
    def __call__(self, images: jax.Array, train: bool = False) -> jax.Array:
        """Classifies images.

        Args:
            images: (B, H, W, channels), normalized.
            train: whether dropout is active (random stream "dropout").

        Returns:
            Logits (B, num_classes), or (B, N, num_classes) with an unpooled classifier; what the head would have seen
            if num_classes is 0. Without transformer, maps (B, H, W, ...) take the place of tokens (B, N, ...).

        Raises:
            ValueError: if the classifier is unknown, or needs a class token where there is no transformer.
        """
        self._check_classifier()
        x = images
        if self.resnet_num_layers is not None:
            x = backbone(x, self.resnet_num_layers, self.resnet_width_factor, self.resnet_variant)
        patch = (self.patch_size,) * 2 if isinstance(self.patch_size, int) else self.patch_size
        x = nn.Conv(self.hidden_size, patch, strides=patch, padding="VALID", name="embedding")(x)
        if self.num_layers is not None:
            x = self._transform(x, self.num_layers, train)

        x = self._pool(x)
        if self.representation_size is None:
            x = Identity(name="pre_logits")(x)
        else:
            x = nn.tanh(nn.Dense(self.representation_size, name="pre_logits")(x))
        return self._head(x) if self.num_classes else x

    def _check_classifier(self) -> None:
        possible = get_args(Classifier) if self.num_layers is not None else ("gap", "unpooled")
        if self.classifier not in possible:
            without = "" if self.num_layers is not None else "without a transformer "
            raise ValueError(f"classifier {without}must be one of {', '.join(possible)}, but is {self.classifier!r}.")

    def _transform(self, x: jax.Array, num_layers: int, train: bool) -> jax.Array:
        """Maps (B, H, W, C) to tokens (B, N, C), row by row, a class token first if there is one."""
        x = x.reshape(len(x), -1, self.hidden_size)
        if self.classifier in ("token", "token_unpooled"):
            class_token = self.param("cls", nn.initializers.zeros, (1, 1, self.hidden_size))
            x = jnp.concatenate([jnp.tile(class_token, (len(x), 1, 1)), x], axis=1)
        encoder = Encoder(
            num_layers=num_layers,
            num_heads=self.num_heads,
            mlp_dim=self.mlp_dim,
            dropout_rate=self.dropout_rate,
            attention_dropout_rate=self.attention_dropout_rate,
            activation=self.activation,
            name="Transformer",
        )
        return encoder(x, train)

    def _pool(self, x: jax.Array) -> jax.Array:
        """Maps tokens (B, N, C) or a map (B, H, W, C) to what the head sees."""
        if self.classifier == "token":
            return x[:, 0]
        if self.classifier == "gap":
            return x.mean(axis=tuple(range(1, x.ndim - 1)))
        return x

    def _head(self, x: jax.Array) -> jax.Array:
        zeros, bias = nn.initializers.zeros, nn.initializers.constant(self.head_bias_init)
        return nn.Dense(self.num_classes, kernel_init=zeros, bias_init=bias, name="head")(x)


class Encoder(nn.Module):
    """Transformer encoder with a final norm.

    Attributes:
        num_layers: number of layers.
        num_heads: heads of the attention.
        mlp_dim: hidden size of the MLPs.
        dropout_rate: dropout rate after the position embedding, after attention and inside the MLPs.
        attention_dropout_rate: dropout rate of the attention weights.
        add_position_embedding: whether a learned position embedding is added first.
        activation: of the MLPs, "gelu_tanh" or "gelu".
    """

    num_layers: int
    num_heads: int
    mlp_dim: int
    dropout_rate: float = 0.0
    attention_dropout_rate: float = 0.0
    add_position_embedding: bool = True
    activation: str = "gelu_tanh"

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Maps (B, N, C) to the same shape; raises a ValueError if the channels do not divide into heads."""
        if self.add_position_embedding:
            x = PositionEmbedding(name="posembed_input")(x)
            x = nn.Dropout(self.dropout_rate, deterministic=not train)(x)
        for index in range(self.num_layers):
            layer = EncoderLayer(
                num_heads=self.num_heads,
                mlp_dim=self.mlp_dim,
                dropout_rate=self.dropout_rate,
                attention_dropout_rate=self.attention_dropout_rate,
                activation=self.activation,
                name=f"encoderblock_{index}",
            )
            x = layer(x, train)
        return LayerNorm(name="encoder_norm")(x)


class EncoderLayer(nn.Module):
    """Pre-norm transformer layer; see `Encoder` for the fields."""

    num_heads: int
    mlp_dim: int
    dropout_rate: float
    attention_dropout_rate: float
    activation: str

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Maps (B, N, C) to the same shape."""
        channels = x.shape[-1]
        if channels % self.num_heads:
            raise ValueError(f"{channels} channels do not divide into {self.num_heads} heads.")
        attention = nn.MultiHeadDotProductAttention(
            self.num_heads,
            kernel_init=nn.initializers.xavier_uniform(),
            dropout_rate=self.attention_dropout_rate,
            broadcast_dropout=False,
            deterministic=not train,
        )
        y = attention(LayerNorm()(x))
        x = x + nn.Dropout(self.dropout_rate, deterministic=not train)(y)
        return x + MlpBlock(self.mlp_dim, self.dropout_rate, self.activation)(LayerNorm()(x), train)


class MlpBlock(nn.Module):
    """Two dense layers with GELU between them."""

    mlp_dim: int
    dropout_rate: float
    activation: str

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Maps (B, N, C) to the same shape."""
        dense = functools.partial(
            nn.Dense, kernel_init=nn.initializers.xavier_uniform(), bias_init=nn.initializers.normal(stddev=1e-6)
        )
        y = nn.gelu(dense(self.mlp_dim)(x), approximate=self.activation == "gelu_tanh")
        y = nn.Dropout(self.dropout_rate, deterministic=not train)(y)
        y = dense(x.shape[-1])(y)
        return nn.Dropout(self.dropout_rate, deterministic=not train)(y)


class PositionEmbedding(nn.Module):
    """Adds a learned value per token and channel."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps (B, N, C) to the same shape."""
        return x + self.param("pos_embedding", nn.initializers.normal(stddev=0.02), (1, *x.shape[1:]))


class Identity(nn.Module):
    """Gives a value a name among the captured intermediates."""

    def __call__(self, x: jax.Array) -> jax.Array:
        """Returns its input."""
        return x
