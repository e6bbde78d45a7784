"""The transformer encoder of ViT, on a sequence of tokens."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from keras_nest.layers.attention import attention_probabilities, heads_by_one_product, merge_heads, split_heads
from keras_nest.layers.base import Layer
from keras_nest.layers.dense_general import DenseGeneral
from keras_nest.layers.encoder import MlpBlock, PreNormBlock
from keras_nest.layers.formulation import formulation
from keras_nest.layers.normalization import norm
from keras_nest.layers.random import Dropout
from keras_nest.layers.tokens import AddPositionEmbs
from keras_nest.types import Shape, Size


@keras.saving.register_keras_serializable(package="keras_nest")
class MultiHeadDotProductAttention(Layer):
    """Self-attention of a sequence: (B, N, C) -> the same.

    The arithmetic is that of `keras.layers.MultiHeadAttention`, which stores its output kernel under another name,
    computes einsums that TFLite does not fuse, and draws the same dropout mask on every replica.

    Source: `flax.linen.MultiHeadDotProductAttention`.

    Args:
        num_heads: heads h; they divide C.
        dropout: dropout rate of the attention probabilities.
        **kwargs: the usual layer arguments.
    """

    def __init__(self, num_heads: int, dropout: float = 0.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.num_heads, self.dropout = num_heads, dropout

    def build(self, input_shape: Shape) -> None:
        channels = input_shape[-1]
        heads = (self.num_heads, channels // self.num_heads)
        options: dict[str, Any] = {"kernel_initializer": "glorot_uniform", "dtype": self.dtype_policy}
        self.query, self.key, self.value = (
            DenseGeneral(heads, name=name, **options) for name in ("query", "key", "value")
        )
        self.out = DenseGeneral((channels,), input_axes=heads, name="out", **options)
        for layer in (self.query, self.key, self.value, self.out):
            layer.build(input_shape)
        self.probabilities_dropout = Dropout(self.dropout, name="Dropout_0", dtype=self.dtype_policy)

    def call(self, x: Any, training: bool | None = None, return_attention_scores: bool = False) -> Any:
        """Attends.

        Args:
            x: (B, N, C).
            training: whether dropout acts.
            return_attention_scores: also return the probabilities.

        Returns:
            (B, N, C), and the probabilities (B, h, N, N) before dropout if asked for.
        """
        query, key, value = self.project_inputs(x)
        probabilities = attention_probabilities(query, key)
        values = ops.matmul(self.probabilities_dropout(probabilities, training=training), value)
        y = self.out(merge_heads(values))
        return (y, probabilities) if return_attention_scores else y

    def project_inputs(self, x: Any) -> Sequence[Any]:
        """Query, scaled, key and value of tokens (B, N, C): (B, h, N, d) each."""
        layers, scale = (self.query, self.key, self.value), (x.shape[-1] // self.num_heads) ** -0.5
        is_open = None in x.shape[1:]
        if formulation().one_projection and not is_open and all(layer.is_plain for layer in layers):
            others = [(layer.kernel, layer.bias) for layer in layers[1:]]
            return heads_by_one_product(x, lambda: [self.query.scaled_weights(scale), *others])
        query = self.query(x) * ops.cast(scale, x.dtype)
        return [split_heads(part, self.num_heads) for part in (query, self.key(x), self.value(x))]

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "num_heads": self.num_heads, "dropout": self.dropout}


@keras.saving.register_keras_serializable(package="keras_nest")
class Encoder1DBlock(PreNormBlock):
    """ViT's encoder layer, (B, N, C); see `PreNormBlock`.

    Source: ViT paper, equations 2 and 3; reference module `Encoder1DBlock`.

    Args:
        num_heads: attention heads.
        mlp_dim: hidden width of the MLP.
        dropout_rate: dropout rate of the attention output and inside the MLP.
        attention_dropout_rate: dropout rate of the attention probabilities.
        activation: of the MLP, see `MlpBlock`.
        **kwargs: the usual layer arguments, and those of `PreNormBlock`.
    """

    def __init__(
        self,
        num_heads: int,
        mlp_dim: int,
        dropout_rate: float = 0.0,
        attention_dropout_rate: float = 0.0,
        activation: str = "gelu_tanh",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.num_heads, self.mlp_dim, self.activation = num_heads, mlp_dim, activation
        self.dropout_rate, self.attention_dropout_rate = dropout_rate, attention_dropout_rate

    def create_layers(self, channels: int) -> None:
        """See `PreNormBlock.create_layers`."""
        policy = self.dtype_policy
        self.norms = [norm("LN", i, dtype=policy) for i in range(2)]
        self.attention = MultiHeadDotProductAttention(
            self.num_heads, self.attention_dropout_rate, name="MultiHeadDotProductAttention_0", dtype=policy
        )
        self.mlp = MlpBlock(
            self.mlp_dim,
            self.dropout_rate,
            kernel_initializer="glorot_uniform",
            bias_initializer=keras.initializers.RandomNormal(stddev=1e-6),
            activation=self.activation,
            name="MlpBlock_0",
            dtype=policy,
        )
        # The MLP ends with a dropout of its own.
        self.branch_drops = [
            Dropout(rate, name=f"Dropout_{i}", dtype=policy) for i, rate in enumerate((self.dropout_rate, 0.0))
        ]

    def get_config(self) -> dict[str, Any]:
        fields = ("num_heads", "mlp_dim", "dropout_rate", "attention_dropout_rate", "activation")
        return {**super().get_config(), **{field: getattr(self, field) for field in fields}}


@keras.saving.register_keras_serializable(package="keras_nest")
class Encoder(Layer):
    """Position embedding, encoder layers and final normalization.

    Input: tokens (B, N, C). Returns the output of that shape and a dictionary of the intermediates: `posembed_input`,
    `encoderblock_0`, `encoderblock_0/LayerNorm_0`, …, `encoder_norm`.

    Source: reference module `Encoder`.

    Args:
        num_layers: encoder layers.
        num_heads: attention heads.
        mlp_dim: hidden width of the MLPs.
        dropout_rate: dropout rate after the position embedding, of attention outputs and inside the MLPs.
        attention_dropout_rate: dropout rate of the attention probabilities.
        grid: height and width of the map that the tokens come from; None adds no position embedding.
        class_token: a class token stands in front of that map's tokens.
        final_norm: normalize the output; a feature extractor does without.
        remat: of the encoder layers, see `PreNormBlock`.
        activation: of the MLPs, see `MlpBlock`.
        **kwargs: the usual layer arguments.
    """

    def __init__(
        self,
        num_layers: int,
        num_heads: int,
        mlp_dim: int,
        dropout_rate: float = 0.0,
        attention_dropout_rate: float = 0.0,
        grid: Size | None = None,
        class_token: bool = False,
        final_norm: bool = True,
        remat: bool = False,
        activation: str = "gelu_tanh",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.num_layers, self.num_heads, self.mlp_dim = num_layers, num_heads, mlp_dim
        self.dropout_rate, self.attention_dropout_rate = dropout_rate, attention_dropout_rate
        self.grid, self.class_token, self.final_norm, self.remat = grid, class_token, final_norm, remat
        self.activation = activation

    def build(self, input_shape: Shape) -> None:
        policy = self.dtype_policy
        self.dropout = Dropout(self.dropout_rate, name="Dropout_0", dtype=policy)
        self.position_embedding = self.encoder_norm = None
        if self.grid is not None:
            self.position_embedding = AddPositionEmbs(self.grid, self.class_token, name="posembed_input", dtype=policy)
            self.position_embedding.build(input_shape)
        fields = (self.num_heads, self.mlp_dim, self.dropout_rate, self.attention_dropout_rate, self.activation)
        self.blocks = [
            Encoder1DBlock(*fields, remat=self.remat, name=f"encoderblock_{i}", dtype=policy)
            for i in range(self.num_layers)
        ]
        for block in self.blocks:
            block.build(input_shape)
        if self.final_norm:
            self.encoder_norm = norm("LN", name="encoder_norm", dtype=policy)
            self.encoder_norm.build(input_shape)

    def call(self, x: Any, training: bool | None = None) -> tuple[Any, dict[str, Any]]:
        parts = {}
        if self.position_embedding is not None:
            x = parts["posembed_input"] = self.position_embedding(x)
            x = self.dropout(x, training=training)
        for block in self.blocks:
            x, inner = block(x, training=training)
            parts |= {block.name: x} | {f"{block.name}/{part}": value for part, value in inner.items()}
        if self.encoder_norm is not None:
            x = parts["encoder_norm"] = self.encoder_norm(x)
        return x, parts

    def compute_output_spec(self, x: keras.KerasTensor, training: bool | None = None) -> Any:
        """Shapes without tracing the computation, which keeps building a deep model fast."""
        names = ["posembed_input"] if self.position_embedding is not None else []
        for block in self.blocks:
            names += [block.name, *(f"{block.name}/{part}" for part in block.compute_output_spec(x)[1])]
        names += ["encoder_norm"] if self.encoder_norm is not None else []
        parts = {name: keras.KerasTensor(x.shape, dtype=self.compute_dtype) for name in names}
        return keras.KerasTensor(x.shape, dtype=self.compute_dtype), parts

    def get_config(self) -> dict[str, Any]:
        widths = ("num_layers", "num_heads", "mlp_dim", "dropout_rate", "attention_dropout_rate")
        fields = (*widths, "grid", "class_token", "final_norm", "remat", "activation")
        return {**super().get_config(), **{field: getattr(self, field) for field in fields}}
