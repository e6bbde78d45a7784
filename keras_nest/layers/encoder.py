"""Transformer encoder layers, and NesT's on blocked images."""

import functools
import math
from typing import Any

import keras
from keras import ops

from keras_nest.layers import initializers
from keras_nest.layers.attention import MultiHeadAttention, MultiQueryAttention
from keras_nest.layers.base import Layer
from keras_nest.layers.dense_general import as_rows
from keras_nest.layers.normalization import norm
from keras_nest.layers.random import Dropout
from keras_nest.layers.rematerialization import rematerialized
from keras_nest.layers.stochastic_depth import StochasticDepth
from keras_nest.types import Shape

ATTENTIONS = {"local_multi_head": MultiHeadAttention, "local_multi_query": MultiQueryAttention}
GELUS = ("gelu_tanh", "gelu")


def check_gelu(activation: str) -> None:
    """Refuses what is no activation of an MLP.

    Raises:
        ValueError: says which there are.
    """
    if activation not in GELUS:
        raise ValueError(f"activation is {activation!r}; it must be one of {', '.join(map(repr, GELUS))}.")


def gelu(x: Any) -> Any:
    """GELU in its tanh approximation, Flax's default; the exact one is off by 5e-4 in the logits."""
    return ops.gelu(x, approximate=True)


def exact_gelu(x: Any) -> Any:
    """GELU by the error function, PyTorch's default."""
    # Not `ops.gelu`: TFLite knows this form as one operation, and the one of TensorFlow, by erfc, not at all.
    return 0.5 * x * (1 + ops.erf(x * math.sqrt(0.5)))


@keras.saving.register_keras_serializable(package="keras_nest")
class MlpBlock(Layer):
    """Two dense layers with a GELU between them: (…, C) -> (…, C).

    Source: modules `MlpBlock` of the NesT, ViT and Mixer references.

    Args:
        hidden_dim: width between the two layers.
        dropout: dropout rate after the activation and after the second layer.
        kernel_initializer: of both layers; None takes NesT's.
        bias_initializer: of both layers.
        activation: "gelu_tanh", the approximation of the JAX originals, or "gelu", the exact one of PyTorch's.
        **kwargs: the usual layer arguments.

    Raises:
        ValueError: another activation.
    """

    def __init__(
        self,
        hidden_dim: int,
        dropout: float = 0.0,
        kernel_initializer: Any = None,
        bias_initializer: Any = "zeros",
        activation: str = "gelu_tanh",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        check_gelu(activation)
        self.hidden_dim, self.dropout, self.activation = hidden_dim, dropout, activation
        self.kernel_initializer = initializers.get(kernel_initializer)
        self.bias_initializer = initializers.get(bias_initializer)

    def build(self, input_shape: Shape) -> None:
        policy = self.dtype_policy
        self.dense = [
            keras.layers.Dense(
                width,
                # Copies: an initializer that is used twice draws the same values twice.
                kernel_initializer=self.kernel_initializer.clone(),
                bias_initializer=self.bias_initializer.clone(),
                name=f"Dense_{i}",
                dtype=policy,
            )
            for i, width in enumerate((self.hidden_dim, input_shape[-1]))
        ]
        self.dense[0].build(input_shape)
        self.dense[1].build((*input_shape[:-1], self.hidden_dim))
        self.dropouts = [Dropout(self.dropout, name=f"Dropout_{i}", dtype=policy) for i in range(2)]

    def call(self, x: Any, training: bool | None = None) -> Any:
        rows, restore = as_rows(x)
        rows = self.dense[0](rows)
        rows = exact_gelu(rows) if self.activation == "gelu" else gelu(rows)
        # Masks are drawn in the shape of the tokens.
        rows, restore = as_rows(self.dropouts[0](restore(rows), training=training))
        return self.dropouts[1](restore(self.dense[1](rows)), training=training)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "hidden_dim": self.hidden_dim,
            "dropout": self.dropout,
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
            "bias_initializer": keras.initializers.serialize(self.bias_initializer),
            "activation": self.activation,
        }


class PreNormBlock(Layer):
    """Pre-norm encoder layer: x + attention(norm(x)), then y + mlp(norm(y)).

    Input: (…, C). Returns the output of that shape and a dictionary of the intermediates under their Flax names, each
    of that shape too. Subclasses say which layers these are.

    Args:
        remat: training keeps the input alone and computes the intermediates again in the backward pass, which takes a
            third more time and much less memory; see `rematerialized`.
        **kwargs: the usual layer arguments.
    """

    norms: list[keras.layers.Layer]
    attention: keras.layers.Layer
    mlp: keras.layers.Layer
    branch_drops: list[keras.layers.Layer]

    def __init__(self, remat: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.remat = remat

    def create_layers(self, channels: int) -> None:
        """Sets the two `norms`, `attention`, `mlp`, and what drops the ends of the two branches, `branch_drops`."""
        raise NotImplementedError

    def build(self, input_shape: Shape) -> None:
        self.create_layers(input_shape[-1])
        for layer in (*self.norms, self.attention, self.mlp):
            layer.build(input_shape)

    def call(self, x: Any, training: bool | None = None) -> tuple[Any, dict[str, Any]]:
        compute = functools.partial(self.compute, training=training)
        return rematerialized(self, compute, x) if self.remat and training else compute(x)

    def compute(self, x: Any, training: bool | None) -> tuple[Any, dict[str, Any]]:
        """What `call` returns, whichever way it comes by it."""
        parts = {}
        normed = parts[self.norms[0].name] = self.norms[0](x)
        attended = parts[self.attention.name] = self.attention(normed, training=training)
        x = x + self.branch_drops[0](attended, training=training)
        normed = parts[self.norms[1].name] = self.norms[1](x)
        hidden = parts[self.mlp.name] = self.mlp(normed, training=training)
        return x + self.branch_drops[1](hidden, training=training), parts

    def compute_output_spec(self, x: keras.KerasTensor, training: bool | None = None) -> Any:
        """Shapes without tracing the computation, which keeps building a deep model fast."""
        names = (self.norms[0].name, self.attention.name, self.norms[1].name, self.mlp.name)
        spec, *parts = (keras.KerasTensor(x.shape, dtype=self.compute_dtype) for _ in range(5))
        return spec, dict(zip(names, parts, strict=True))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "remat": self.remat}


@keras.saving.register_keras_serializable(package="keras_nest")
class EncoderNDBlock(PreNormBlock):
    """NesT's encoder layer on blocks, (B, T, N, C); see `PreNormBlock`.

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
        activation: of the MLP, see `MlpBlock`.
        **kwargs: the usual layer arguments, and those of `PreNormBlock`.

    Raises:
        ValueError: `remat` with `norm_type` "BN".
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
        activation: str = "gelu_tanh",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.num_heads, self.attn_type, self.norm_type = num_heads, attn_type, norm_type
        self.mlp_ratio, self.qkv_bias, self.activation = mlp_ratio, qkv_bias, activation
        self.attn_drop, self.proj_drop, self.stochastic_depth = attn_drop, proj_drop, stochastic_depth
        if self.remat and norm_type == "BN":
            raise ValueError(
                'remat and norm_type "BN" do not go together: a step would update its statistics twice; take "LN" '
                'or "GN", or leave remat out.'
            )

    def create_layers(self, channels: int) -> None:
        """See `PreNormBlock.create_layers`."""
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
        options: dict[str, Any] = {"activation": self.activation, "name": "MlpBlock_0", "dtype": policy}
        self.mlp = MlpBlock(int(self.mlp_ratio * channels), self.proj_drop, **options)
        self.branch_drops = [
            StochasticDepth(self.stochastic_depth, name=f"StochasticDepth_{i}", dtype=policy) for i in range(2)
        ]

    def get_config(self) -> dict[str, Any]:
        fields = ("num_heads", "attn_type", "norm_type", "mlp_ratio", "qkv_bias", "attn_drop", "proj_drop")
        return {
            **super().get_config(),
            **{field: getattr(self, field) for field in fields},
            "stochastic_depth": self.stochastic_depth,
            "activation": self.activation,
        }
