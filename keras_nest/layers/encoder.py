"""Transformer encoder layers on blocked images."""

from typing import Any

import keras
from keras import ops

from keras_nest.layers.attention import MultiHeadAttention, MultiQueryAttention
from keras_nest.layers.image_blocks import Shape
from keras_nest.layers.initializers import kernel_initializer
from keras_nest.layers.normalization import norm
from keras_nest.layers.random import Dropout
from keras_nest.layers.stochastic_depth import StochasticDepth

ATTENTIONS = {"local_multi_head": MultiHeadAttention, "local_multi_query": MultiQueryAttention}


def gelu(x: Any) -> Any:
    """GELU in its tanh approximation, Flax's default; the exact one is off by 5e-4 in the logits."""
    return ops.gelu(x, approximate=True)


@keras.saving.register_keras_serializable(package="keras_nest")
class MlpBlock(keras.layers.Layer):
    """Two dense layers with a GELU between them: (…, C) -> (…, C).

    Source: reference module `MlpBlock`.

    Args:
        hidden_dim: width between the two layers.
        dropout: dropout rate after the activation and after the second layer.
        **kwargs: the usual layer arguments.
    """

    def __init__(self, hidden_dim: int, dropout: float = 0.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.hidden_dim, self.dropout = hidden_dim, dropout

    def build(self, input_shape: Shape) -> None:
        policy = self.dtype_policy
        widths = (self.hidden_dim, input_shape[-1])
        self.dense = [
            keras.layers.Dense(width, kernel_initializer=kernel_initializer(), name=f"Dense_{i}", dtype=policy)
            for i, width in enumerate(widths)
        ]
        self.dense[0].build(input_shape)
        self.dense[1].build((*input_shape[:-1], self.hidden_dim))
        self.dropouts = [Dropout(self.dropout, name=f"Dropout_{i}", dtype=policy) for i in range(2)]

    def call(self, x: Any, training: bool | None = None) -> Any:
        x = self.dropouts[0](gelu(self.dense[0](x)), training=training)
        return self.dropouts[1](self.dense[1](x), training=training)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "hidden_dim": self.hidden_dim, "dropout": self.dropout}


@keras.saving.register_keras_serializable(package="keras_nest")
class EncoderNDBlock(keras.layers.Layer):
    """Pre-norm encoder layer: x + attention(norm(x)), then y + mlp(norm(y)).

    Input: (B, T, N, C). Returns the output (B, T, N, C) and a dictionary of the intermediates under their Flax names,
    each (B, T, N, C).

    Source: NesT paper, section 3.1, equation 1; reference module `EncoderNDBlock`.

    Args:
        num_heads: attention heads.
        attn_type: "local_multi_head" or "local_multi_query".
        norm_type: "LN", "BN" or "GN".
        mlp_ratio: hidden width of the MLP over C.
        qkv_bias: biases of query, key and value.
        attn_drop: dropout rate of the attention probabilities.
        proj_drop: dropout rate of the attention output and inside the MLP.
        stochastic_depth: probability that a sample skips a branch in training.
        **kwargs: the usual layer arguments.
    """

    def __init__(
        self,
        num_heads: int,
        attn_type: str = "local_multi_head",
        norm_type: str = "LN",
        mlp_ratio: float = 4,
        qkv_bias: bool = True,
        attn_drop: float = 0.0,
        proj_drop: float = 0.0,
        stochastic_depth: float = 0.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.num_heads, self.attn_type, self.norm_type = num_heads, attn_type, norm_type
        self.mlp_ratio, self.qkv_bias = mlp_ratio, qkv_bias
        self.attn_drop, self.proj_drop, self.stochastic_depth = attn_drop, proj_drop, stochastic_depth

    def build(self, input_shape: Shape) -> None:
        policy = self.dtype_policy
        attention = ATTENTIONS[self.attn_type]
        self.norms = [norm(self.norm_type, i, dtype=policy) for i in range(2)]
        self.attention = attention(
            self.num_heads,
            self.qkv_bias,
            self.attn_drop,
            self.proj_drop,
            name=f"{attention.__name__}_0",
            dtype=policy,
        )
        self.mlp = MlpBlock(int(self.mlp_ratio * input_shape[-1]), self.proj_drop, name="MlpBlock_0", dtype=policy)
        for layer in (*self.norms, self.attention, self.mlp):
            layer.build(input_shape)
        self.drop_paths = [
            StochasticDepth(self.stochastic_depth, name=f"StochasticDepth_{i}", dtype=policy) for i in range(2)
        ]

    def call(self, x: Any, training: bool | None = None) -> tuple[Any, dict[str, Any]]:
        parts = {}
        normed = parts[self.norms[0].name] = self.norms[0](x)
        attended = parts[self.attention.name] = self.attention(normed, training=training)
        x = x + self.drop_paths[0](attended, training=training)
        normed = parts[self.norms[1].name] = self.norms[1](x)
        hidden = parts[self.mlp.name] = self.mlp(normed, training=training)
        return x + self.drop_paths[1](hidden, training=training), parts

    def compute_output_spec(self, x: keras.KerasTensor, training: bool | None = None) -> Any:
        """Shapes without tracing the computation, which keeps building a deep model fast."""
        spec = keras.KerasTensor(x.shape, dtype=self.compute_dtype)
        names = (self.norms[0].name, self.attention.name, self.norms[1].name, self.mlp.name)
        return spec, {name: keras.KerasTensor(x.shape, dtype=self.compute_dtype) for name in names}

    def get_config(self) -> dict[str, Any]:
        fields = ("num_heads", "attn_type", "norm_type", "mlp_ratio", "qkv_bias", "attn_drop", "proj_drop")
        return {
            **super().get_config(),
            **{field: getattr(self, field) for field in fields},
            "stochastic_depth": self.stochastic_depth,
        }
