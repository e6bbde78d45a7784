"""The encoder of BERT.

Devlin et al., "BERT: Pre-training of Deep Bidirectional Transformers for Language Understanding", NAACL 2019. The
names are those of google/flaxformer, whose encoder the LiT checkpoints hold. There is no dropout: LiT runs its towers
without.
"""

from typing import Any

import keras
from keras import ops

from keras_nest.layers.attention import attention_probabilities, merge_heads, split_heads
from keras_nest.layers.base import Layer
from keras_nest.layers.encoder import gelu
from keras_nest.layers.initializers import kernel_initializer
from keras_nest.layers.text import TokenEmbedding
from keras_nest.types import Shape

# Added to the attention logits of padding.
_MASKED = -1e10


def padding_bias(tokens: Any) -> Any:
    """What is added to attention logits so that padding is not attended.

    A query that is padding itself is masked everywhere, and so attends to all positions alike.

    Args:
        tokens: (B, N) ids; 0 is padding.

    Returns:
        (B, 1, N, N) float32: 0 where query and key are text, else -1e10.
    """
    text = ops.cast(ops.not_equal(tokens, 0), "float32")
    return ops.expand_dims(1 - ops.expand_dims(text, 2) * ops.expand_dims(text, 1), 1) * _MASKED


def _dense(units: int, name: str, policy: keras.DTypePolicy, inputs: int) -> keras.layers.Dense:
    layer = keras.layers.Dense(units, kernel_initializer=kernel_initializer(), name=name, dtype=policy)
    layer.build((None, None, inputs))
    return layer


def _norm(channels: int, policy: keras.DTypePolicy) -> keras.layers.LayerNormalization:
    layer = keras.layers.LayerNormalization(epsilon=1e-12, name="layer_norm", dtype=policy)
    layer.build((None, None, channels))
    return layer


@keras.saving.register_keras_serializable(package="keras_nest")
class BertEmbedder(Layer):
    """Sum of token, position and segment embeddings: (B, N) ids -> (B, N, C). All tokens are of segment 0.

    Ids beyond the vocabulary count as its last one.

    Args:
        vocab_size: size of the vocabulary.
        hidden_size: channels C.
        max_length: positions there are, N at most.
        num_segments: segments there are.
        **kwargs: the usual layer arguments.
    """

    def __init__(self, vocab_size: int, hidden_size: int, max_length: int, num_segments: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.vocab_size, self.hidden_size = vocab_size, hidden_size
        self.max_length, self.num_segments = max_length, num_segments

    def build(self, input_shape: Shape) -> None:
        self.token_ids, self.position_ids, self.segment_ids = (
            TokenEmbedding(
                rows,
                self.hidden_size,
                clamp=True,
                embeddings_initializer=kernel_initializer(),
                name=f"embedders_{ids}",
                dtype=self.dtype_policy,
            )
            for ids, rows in (
                ("token_ids", self.vocab_size),
                ("position_ids", self.max_length),
                ("segment_ids", self.num_segments),
            )
        )
        for layer in (self.token_ids, self.position_ids, self.segment_ids):
            layer.build(input_shape)

    def call(self, tokens: Any) -> Any:
        positions = self.position_ids(ops.arange(tokens.shape[1], dtype="int32"))
        return self.token_ids(tokens) + positions + self.segment_ids(ops.zeros((1,), "int32"))

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return *input_shape, self.hidden_size

    def get_config(self) -> dict[str, Any]:
        fields = ("vocab_size", "hidden_size", "max_length", "num_segments")
        return {**super().get_config(), **{field: getattr(self, field) for field in fields}}


@keras.saving.register_keras_serializable(package="keras_nest")
class BertSelfAttention(Layer):
    """Masked self-attention without output projection: (B, N, C) and a bias (B, 1, N, N) -> (B, N, C).

    Without a bias every token attends to all. The kernels are matrices (C, h * d), heads outermost.

    Args:
        num_heads: heads h; they divide C.
        **kwargs: the usual layer arguments.
    """

    def __init__(self, num_heads: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.num_heads = num_heads

    def build(self, input_shape: Shape) -> None:
        channels = input_shape[-1]
        self.query, self.key, self.value = (
            _dense(channels, name, self.dtype_policy, channels) for name in ("query", "key", "value")
        )

    def call(self, x: Any, bias: Any = None) -> Any:
        query = self.query(x) * ops.cast((x.shape[-1] // self.num_heads) ** -0.5, x.dtype)
        query, key, value = (split_heads(part, self.num_heads) for part in (query, self.key(x), self.value(x)))
        return merge_heads(ops.matmul(attention_probabilities(query, key, bias), value))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "num_heads": self.num_heads}


@keras.saving.register_keras_serializable(package="keras_nest")
class BertLayer(Layer):
    """Post-norm encoder layer: y = norm(x + attention(x)), then norm(y + mlp(y)).

    Input: (B, N, C) and the attention's bias (B, 1, N, N), or none. Output: (B, N, C).

    Args:
        num_heads: attention heads.
        mlp_dim: hidden width of the MLP.
        **kwargs: the usual layer arguments.
    """

    def __init__(self, num_heads: int, mlp_dim: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.num_heads, self.mlp_dim = num_heads, mlp_dim

    def build(self, input_shape: Shape) -> None:
        channels, policy = input_shape[-1], self.dtype_policy
        # The scopes are modules of the checkpoint that compute nothing of their own.
        with keras.name_scope("attention_block"):
            self.attention = BertSelfAttention(self.num_heads, name="attention_layer", dtype=policy)
            self.attention.build(input_shape)
            self.attention_output = _dense(channels, "dense_layer", policy, channels)
            self.attention_norm = _norm(channels, policy)
        with keras.name_scope("mlp_block"):
            with keras.name_scope("mlp"):
                self.mlp = _dense(self.mlp_dim, "dense_layer", policy, channels)
            self.mlp_output = _dense(channels, "dense_layer", policy, self.mlp_dim)
            self.mlp_norm = _norm(channels, policy)

    def call(self, x: Any, bias: Any = None) -> Any:
        x = self.attention_norm(x + self.attention_output(self.attention(x, bias)))
        return self.mlp_norm(x + self.mlp_output(gelu(self.mlp(x))))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "num_heads": self.num_heads, "mlp_dim": self.mlp_dim}


@keras.saving.register_keras_serializable(package="keras_nest")
class BertEncoder(Layer):
    """Embeddings, normalization and encoder layers.

    Input: token ids (B, N), 0 is padding, which no text attends to. Returns the output (B, N, C) and a dictionary of
    the intermediates: `embedder`, `layer_norm`, `encoder_block/layer_sequence/layers_0`, …

    Source: flaxformer's `BertEncoder`.

    Args:
        vocab_size: size of the vocabulary.
        hidden_size: channels C.
        num_layers: encoder layers.
        num_heads: attention heads.
        mlp_dim: hidden width of the MLPs.
        max_length: positions there are, N at most.
        num_segments: segments there are; the first one is used.
        **kwargs: the usual layer arguments.
    """

    _FIELDS = ("vocab_size", "hidden_size", "num_layers", "num_heads", "mlp_dim", "max_length", "num_segments")

    def __init__(
        self,
        vocab_size: int,
        hidden_size: int,
        num_layers: int,
        num_heads: int,
        mlp_dim: int,
        max_length: int,
        num_segments: int = 2,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.vocab_size, self.hidden_size, self.num_layers = vocab_size, hidden_size, num_layers
        self.num_heads, self.mlp_dim = num_heads, mlp_dim
        self.max_length, self.num_segments = max_length, num_segments

    def build(self, input_shape: Shape) -> None:
        policy = self.dtype_policy
        sizes = (self.vocab_size, self.hidden_size, self.max_length, self.num_segments)
        self.embedder = BertEmbedder(*sizes, name="embedder", dtype=policy)
        self.embedder.build(input_shape)
        self.norm = _norm(self.hidden_size, policy)
        self.blocks = [
            BertLayer(self.num_heads, self.mlp_dim, name=f"layers_{i}", dtype=policy) for i in range(self.num_layers)
        ]
        with keras.name_scope("encoder_block"), keras.name_scope("layer_sequence"):
            for block in self.blocks:
                block.build((*input_shape, self.hidden_size))

    def call(self, tokens: Any) -> tuple[Any, dict[str, Any]]:
        parts = {"embedder": self.embedder(tokens)}
        x = parts["layer_norm"] = self.norm(parts["embedder"])
        bias = padding_bias(tokens)
        for block in self.blocks:
            x = parts[f"encoder_block/layer_sequence/{block.name}"] = block(x, bias)
        return x, parts

    def compute_output_spec(self, tokens: keras.KerasTensor) -> Any:
        """Shapes without tracing the computation, which keeps building a deep model fast."""
        layers = [f"encoder_block/layer_sequence/layers_{i}" for i in range(self.num_layers)]
        x = keras.KerasTensor((*tokens.shape, self.hidden_size), dtype=self.compute_dtype)
        return x, {name: keras.KerasTensor(x.shape, dtype=x.dtype) for name in ("embedder", "layer_norm", *layers)}

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), **{field: getattr(self, field) for field in self._FIELDS}}
