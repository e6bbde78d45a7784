"""Text towers: BERT, and the transformer of LiT's small models. They take token ids.

Devlin et al., "BERT: Pre-training of Deep Bidirectional Transformers for Language Understanding", NAACL 2019; Zhai et
al., "LiT: Zero-Shot Transfer with Locked-image text Tuning", CVPR 2022. Reference: google-research/vision_transformer,
`vit_jax/models_lit.py`, and the BERT of google/flaxformer.
"""

from typing import Any, ClassVar

import keras

from keras_nest.layers.bert import BertEncoder
from keras_nest.layers.encoder_1d import Encoder
from keras_nest.layers.text import TextPositions, TokenEmbedding
from keras_nest.layers.tokens import PoolTokens
from keras_nest.models.arguments import plain_arguments
from keras_nest.models.configured import ConfiguredModel
from keras_nest.models.families import register_family
from keras_nest.models.fields import check_heads, check_rates, constructor_arguments, resolve_policy
from keras_nest.models.inputs import check_tokens


class TextModel(ConfiguredModel):
    """A functional Keras model that embeds texts: token ids (B, max_len) -> vectors (B, out_dim).

    Attributes:
        endpoints: named intermediates as symbolic tensors, under their Flax module paths; pre_logits (B, C) is what the
            head sees, and logits what it makes of it.
        config: the arguments that built the model.

    Args:
        tokens: symbolic ids (B, max_len).
        endpoints: see above, up to pre_logits.
        config: arguments of the subclass, as `get_config` returns them.
        policy: of the body; under mixed precision the head stays in float32.
        name: name of the model.
        **head: further arguments of the head, a `keras.layers.Dense`.
    """

    def __init__(
        self,
        tokens: keras.KerasTensor,
        endpoints: dict[str, keras.KerasTensor],
        config: dict[str, Any],
        policy: keras.DTypePolicy,
        name: str | None,
        **head: Any,
    ) -> None:
        outputs = endpoints["pre_logits"]
        if config["out_dim"] is not None:
            layer = keras.layers.Dense(config["out_dim"], name="head", dtype=policy.variable_dtype, **head)
            outputs = endpoints["logits"] = endpoints["head"] = layer(outputs)
        super().__init__(tokens, outputs, config, name)
        self.endpoints = endpoints

    def check_inputs(self, inputs: Any) -> None:
        """Refuses tokens that are no integers.

        Raises:
            ValueError: they are not.
        """
        check_tokens(inputs, self.name)

    @property
    def max_len(self) -> int:
        """Number of tokens of a text."""
        return self.config["max_len"]


@register_family()
class Bert(TextModel):
    """BERT's encoder as a text tower: what it makes of the first token, [CLS], goes through the head.

    Token id 0 is padding, which no text attends to; ids beyond the vocabulary count as its last one.

    Args:
        out_dim: size of the head; None outputs what it would see (B, hidden_size).
        vocab_size: size of the vocabulary.
        hidden_size: channels C of the tokens.
        num_layers: encoder layers.
        num_heads: attention heads h.
        mlp_dim: hidden width of the MLPs.
        max_len: tokens of a text.
        max_length: positions that there are embeddings for.
        num_segments: segments that there are embeddings for; all tokens are of the first one.
        dtype: dtype policy of the layers, such as "mixed_bfloat16"; None takes the global one.
        name: name of the model.

    Raises:
        ValueError: a field has no meaning, or a text would be longer than the positions reach.
    """

    BLOCKS: ClassVar[tuple[str, str] | None] = ("num_layers", "BertEncoder_0/encoder_block/layer_sequence/layers_{}")

    @plain_arguments
    def __init__(
        self,
        out_dim: int | None = None,
        vocab_size: int = 30522,
        hidden_size: int = 768,
        num_layers: int = 12,
        num_heads: int = 12,
        mlp_dim: int = 3072,
        max_len: int = 16,
        max_length: int = 512,
        num_segments: int = 2,
        dtype: Any = None,
        name: str | None = "bert",
    ) -> None:
        config = constructor_arguments(Bert, locals())
        policy = resolve_policy(dtype)
        config["dtype"] = policy.name
        check_heads(hidden_size, num_heads, "hidden_size")
        if max_len > max_length:
            raise ValueError(f"max_len is {max_len}; the tower has positions for {max_length} tokens at most.")

        tokens = keras.Input((max_len,), dtype="int32", name="tokens")
        sizes = (vocab_size, hidden_size, num_layers, num_heads, mlp_dim, max_length, num_segments)
        x, parts = BertEncoder(*sizes, name="BertEncoder_0", dtype=policy)(tokens)
        endpoints = {"transformed": x} | {f"BertEncoder_0/{part}": value for part, value in parts.items()}
        endpoints["pre_logits"] = PoolTokens("token", name="pool", dtype=policy.variable_dtype)(x)
        super().__init__(tokens, endpoints, config, policy, name, kernel_initializer="lecun_normal")


@register_family()
class TextTransformer(TextModel):
    """ViT's encoder on tokens of a text: what it makes of the last one goes through the head.

    Padding is attended like any other token; ids outside the vocabulary give NaN.

    Args:
        out_dim: size of the head; None outputs what it would see (B, width).
        vocab_size: size of the vocabulary.
        width: channels C of the tokens.
        num_layers: encoder layers.
        num_heads: attention heads h.
        mlp_dim: hidden width of the MLPs.
        max_len: tokens of a text; the position embedding is for as many.
        dropout_rate: dropout rate of attention outputs and inside the MLPs.
        attention_dropout_rate: dropout rate of the attention probabilities.
        dtype: dtype policy of the layers, such as "mixed_bfloat16"; None takes the global one.
        name: name of the model.

    Raises:
        ValueError: a field has no meaning.
    """

    BLOCKS: ClassVar[tuple[str, str] | None] = ("num_layers", "Encoder_0/encoderblock_{}")

    @plain_arguments
    def __init__(
        self,
        out_dim: int | None = None,
        vocab_size: int = 16000,
        width: int = 192,
        num_layers: int = 12,
        num_heads: int = 3,
        mlp_dim: int = 768,
        max_len: int = 16,
        dropout_rate: float = 0.0,
        attention_dropout_rate: float = 0.0,
        dtype: Any = None,
        name: str | None = "text_transformer",
    ) -> None:
        config = constructor_arguments(TextTransformer, locals())
        policy = resolve_policy(dtype)
        config["dtype"] = policy.name
        check_heads(width, num_heads, "width")
        check_rates(config, ("dropout_rate", "attention_dropout_rate"))

        tokens = keras.Input((max_len,), dtype="int32", name="tokens")
        initial = keras.initializers.RandomNormal(stddev=width**-0.5)
        embed = TokenEmbedding(vocab_size, width, embeddings_initializer=initial, name="Embed_0", dtype=policy)
        endpoints = {"Embed_0": embed(tokens)}
        endpoints["embedded"] = endpoints["Embed_0"]
        x = TextPositions(name="pos_embedding", dtype=policy)(endpoints["Embed_0"])
        rates = (dropout_rate, attention_dropout_rate)
        x, parts = Encoder(num_layers, num_heads, mlp_dim, *rates, name="Encoder_0", dtype=policy)(x)
        endpoints |= {"Encoder_0": x} | {f"Encoder_0/{part}": value for part, value in parts.items()}
        endpoints["pre_logits"] = PoolTokens("last", name="pool", dtype=policy.variable_dtype)(x)
        super().__init__(tokens, endpoints, config, policy, name, kernel_initializer="lecun_normal")
