"""Self-attention inside each image block."""

from collections.abc import Callable, Iterable
from typing import Any

import keras
from keras import ops

from keras_nest.keras_private import unlocked
from keras_nest.layers.base import Layer
from keras_nest.layers.dense_general import DenseGeneral, project
from keras_nest.layers.formulation import formulation
from keras_nest.layers.initializers import kernel_initializer
from keras_nest.layers.random import Dropout
from keras_nest.types import Shape


def attention_probabilities(query: Any, key: Any, bias: Any | None = None) -> Any:
    """Softmax over the keys of query times key.

    Args:
        query: (…, Q, d), already scaled.
        key: (…, K, d).
        bias: (…, Q, K), added to the products; None adds nothing.

    Returns:
        (…, Q, K). The softmax runs in float32 (bfloat16 rows would not add up to one) and is cast back.
    """
    axes = (*range(query.ndim - 2), query.ndim - 1, query.ndim - 2)
    dtype = formulation().softmax or query.dtype
    scores = ops.cast(ops.matmul(query, ops.transpose(key, axes)), dtype)
    scores = scores if bias is None else scores + ops.cast(bias, dtype)
    return ops.cast(ops.softmax(scores, axis=-1), query.dtype)


def split_heads(x: Any, heads: int) -> Any:
    """(B, N, h * d) -> (B, h, N, d)."""
    x = ops.reshape(x, (-1, x.shape[1], heads, x.shape[2] // heads))
    return ops.transpose(x, (0, 2, 1, 3))


def heads_by_one_product(x: Any, projections: Callable[[], Iterable[tuple[Any, Any | None]]]) -> list[Any]:
    """What several projections make of tokens, by one product of their kernels put side by side.

    Args:
        x: (B, N, C).
        projections: gives kernel (C, h, d) and bias (h, d), or None, of each.

    Returns:
        (B, h, N, d) of each.
    """

    def side_by_side() -> tuple[Any, Any | None]:
        kernels, biases = zip(*projections(), strict=True)
        bias = None if biases[0] is None else ops.stack([ops.cast(part, x.dtype) for part in biases])
        return ops.stack([ops.cast(part, x.dtype) for part in kernels], axis=1), bias

    kernel, bias = formulation().of_weights(side_by_side)
    _, count, heads, size = kernel.shape
    y = ops.reshape(project(x, kernel, bias), (-1, x.shape[1], count, heads, size))
    return ops.unstack(ops.transpose(y, (2, 0, 3, 1, 4)), count)


def merge_heads(x: Any) -> Any:
    """(B, h, N, d) -> (B, N, h * d)."""
    _, heads, tokens, size = x.shape
    return ops.reshape(ops.transpose(x, (0, 2, 1, 3)), (-1, tokens, heads * size))


@keras.saving.register_keras_serializable(package="keras_nest")
class OutputProjection(DenseGeneral):
    """The output projection of an attention that owns its weights itself, as Flax has it.

    Keras quantizes layers without others inside, and gives LoRA to such. This one has no weights until then, and takes
    them over from the attention: it computes from then on. Files have the weights where they were, with the attention.

    Attributes:
        hand_over: takes kernel and bias away from the attention.
        take_back: gives them to it again.
    """

    hand_over: Callable[[], tuple[keras.Variable, keras.Variable]]
    take_back: Callable[[keras.Variable, keras.Variable], None]

    @property
    def has_weights(self) -> bool:
        """Whether it took the weights over."""
        return bool(self.weights)

    @property
    def proj_kernel(self) -> Any:
        """The kernel, under its name in the attention."""
        return self.kernel

    def build(self, input_shape: Shape) -> None:
        self.input_spec = keras.InputSpec(min_ndim=2)

    def quantize(self, mode: Any = None, type_check: bool = True, config: Any = None) -> None:
        """As `DenseGeneral.quantize`."""
        self._take_over()
        super().quantize(mode, type_check, config)

    def enable_lora(self, rank: int, *args: Any, **kwargs: Any) -> None:
        """As that of `keras.layers.EinsumDense`."""
        self._take_over()
        super().enable_lora(rank, *args, **kwargs)

    def save_own_variables(self, store: Any) -> None:
        """Nothing: the attention does, with `write`."""

    def load_own_variables(self, store: Any) -> None:
        """Nothing: the attention does, with `read`."""

    def write(self, store: Any) -> None:
        """As `save_own_variables` of other layers."""
        super().save_own_variables(store)

    def read(self, store: Any) -> None:
        """As `load_own_variables` of other layers."""
        super().load_own_variables(store)

    def give_back(self) -> None:
        """Leaves the weights to the attention again: the kernel is of floats, and LoRA was merged."""
        weights = self._kernel, self.bias
        del self._kernel, self.bias
        self.take_back(*weights)

    def _take_over(self) -> None:
        if self.has_weights:
            return
        weights = self.hand_over()
        flags = [weight.trainable for weight in weights]
        for weight in weights:
            weight.trainable = True  # Keras would never train again what is frozen when a layer gets it.
        with unlocked(self):
            self._kernel, self.bias = weights
        for weight, flag in zip(weights, flags, strict=True):
            weight.trainable = flag


class BlockAttention(Layer):
    """What the two published attentions share: query and output projections, dropouts, the flow.

    Input and output: (B, T, N, C); tokens attend to the tokens of their own block. Blocks are folded into the batch
    so that no tensor has more than four axes.

    Source: NesT paper, section 3.1; reference module `libml/self_attention.py`.

    Args:
        num_heads: heads h.
        qkv_bias: adds biases to query, key and value; the output projection always has one.
        attn_drop: dropout rate of the attention probabilities.
        proj_drop: dropout rate of the output.
        **kwargs: the usual layer arguments.
    """

    def __init__(
        self, num_heads: int, qkv_bias: bool = True, attn_drop: float = 0.0, proj_drop: float = 0.0, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.num_heads, self.qkv_bias = num_heads, qkv_bias
        self.attn_drop, self.proj_drop = attn_drop, proj_drop

    def build(self, input_shape: Shape) -> None:
        channels = input_shape[-1]
        self.head_dim = channels // self.num_heads
        policy = self.dtype_policy
        self.query = DenseGeneral((self.num_heads, self.head_dim), self.qkv_bias, name="DenseGeneral_0", dtype=policy)
        self.query.build(input_shape)
        self.key_value = self.build_key_value(input_shape)
        self.proj_kernel = self.add_weight(
            name="proj_kernel",
            shape=(self.num_heads, self.head_dim, channels),
            initializer=kernel_initializer(),
        )
        self.bias = self.add_weight(name="bias", shape=(channels,), initializer="zeros")
        self.proj = OutputProjection(
            (channels,),
            input_axes=(self.num_heads, self.head_dim),
            kernel_initializer="zeros",  # another would draw a seed, and what is drawn after it would change
            name="proj",
            dtype=policy,
        )
        self.proj.hand_over, self.proj.take_back = self._hand_over, self._take_back
        self.proj.build(input_shape)
        self.probabilities_dropout = Dropout(self.attn_drop, name="Dropout_0", dtype=policy)
        self.output_dropout = Dropout(self.proj_drop, name="Dropout_1", dtype=policy)

    def _hand_over(self) -> tuple[keras.Variable, keras.Variable]:
        weights = self.proj_kernel, self.bias
        del self.proj_kernel, self.bias
        return weights

    def _take_back(self, kernel: keras.Variable, bias: keras.Variable) -> None:
        with unlocked(self):
            self.proj_kernel, self.bias = kernel, bias

    def project_values(self, values: Any) -> Any:
        """The output projection: (B*T, N, h * d) -> (B*T, N, C)."""
        return self.proj(values) if self.proj.has_weights else project(values, self.proj_kernel, self.bias, inputs=2)

    def save_own_variables(self, store: Any) -> None:
        """As every layer, wherever the weights of the output projection are."""
        (self.proj.write if self.proj.has_weights else super().save_own_variables)(store)

    def load_own_variables(self, store: Any) -> None:
        """Inverse of `save_own_variables`."""
        (self.proj.read if self.proj.has_weights else super().load_own_variables)(store)

    def build_key_value(self, input_shape: Shape) -> keras.layers.Layer:
        """Creates and builds the projection to keys and values."""
        raise NotImplementedError

    def attend_tokens(self, x: Any, training: bool | None) -> tuple[Any, Any]:
        """(B*T, N, C) to what `attend` returns."""
        query = self.query(x) * ops.cast(self.head_dim**-0.5, x.dtype)
        return self.attend(query, self.key_value(x), training)

    def attend(self, query: Any, key_value: Any, training: bool | None) -> tuple[Any, Any]:
        """Attention proper.

        Args:
            query: (B*T, N, h * d), scaled.
            key_value: output of the key and value projection, (B*T, N, …).
            training: whether dropout acts.

        Returns:
            The attended values (B*T, N, h * d) and the probabilities (B*T, h, N, N) before dropout.
        """
        raise NotImplementedError

    def call(self, x: Any, training: bool | None = None, return_attention_scores: bool = False) -> Any:
        """Attends.

        Args:
            x: (B, T, N, C).
            training: whether dropout acts.
            return_attention_scores: also return the probabilities.

        Returns:
            (B, T, N, C), and the probabilities (B, T, h, N, N) if asked for.
        """
        blocks, tokens, channels = x.shape[1:]
        folded = ops.reshape(x, (-1, tokens, channels))
        values, probabilities = self.attend_tokens(folded, training)
        y = self.project_values(values)
        y = self.output_dropout(ops.reshape(y, (-1, blocks, tokens, channels)), training=training)
        if not return_attention_scores:
            return y
        return y, ops.reshape(probabilities, (-1, blocks, self.num_heads, tokens, tokens))

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "num_heads": self.num_heads,
            "qkv_bias": self.qkv_bias,
            "attn_drop": self.attn_drop,
            "proj_drop": self.proj_drop,
        }


@keras.saving.register_keras_serializable(package="keras_nest")
class MultiHeadAttention(BlockAttention):
    """Multi-head attention inside each block: every head has keys and values of its own.

    One projection (C, h, 2d) gives both: within each head the first d columns are the key, the last d the value.
    Arguments and shapes: `BlockAttention`.
    """

    def build_key_value(self, input_shape: Shape) -> keras.layers.Layer:
        """See `BlockAttention.build_key_value`."""
        layer = DenseGeneral(
            (self.num_heads, 2 * self.head_dim), self.qkv_bias, name="DenseGeneral_1", dtype=self.dtype_policy
        )
        layer.build(input_shape)
        return layer

    def attend_tokens(self, x: Any, training: bool | None) -> tuple[Any, Any]:
        """See `BlockAttention.attend_tokens`."""
        if not (formulation().one_projection and self.query.is_plain and self.key_value.is_plain):
            return super().attend_tokens(x, training)

        def projections() -> list[tuple[Any, Any | None]]:
            kernels = ops.split(self.key_value.kernel, 2, axis=-1)
            biases = ops.split(self.key_value.bias, 2, axis=-1) if self.qkv_bias else [None, None]
            return [self.query.scaled_weights(self.head_dim**-0.5), *zip(kernels, biases, strict=True)]

        query, key, value = heads_by_one_product(x, projections)
        return self._mix(query, key, value, training)

    def attend(self, query: Any, key_value: Any, training: bool | None) -> tuple[Any, Any]:
        """See `BlockAttention.attend`."""
        key, value = ops.split(split_heads(key_value, self.num_heads), 2, axis=-1)
        return self._mix(split_heads(query, self.num_heads), key, value, training)

    def _mix(self, query: Any, key: Any, value: Any, training: bool | None) -> tuple[Any, Any]:
        """Values of queries (B*T, h, N, d), by keys: what `attend` returns."""
        probabilities = attention_probabilities(query, key)
        values = ops.matmul(self.probabilities_dropout(probabilities, training=training), value)
        return merge_heads(values), probabilities


@keras.saving.register_keras_serializable(package="keras_nest")
class MultiQueryAttention(BlockAttention):
    """Multi-query attention inside each block: all heads share one key and one value.

    The shared projection is an ordinary dense layer (C, 2d), key first. Arguments and shapes: `BlockAttention`.
    Source: Shazeer 2019, "Fast Transformer Decoding: One Write-Head is All You Need".
    """

    def build_key_value(self, input_shape: Shape) -> keras.layers.Layer:
        """See `BlockAttention.build_key_value`."""
        layer = keras.layers.Dense(
            2 * self.head_dim,
            use_bias=self.qkv_bias,
            kernel_initializer=kernel_initializer(),
            name="Dense_0",
            dtype=self.dtype_policy,
        )
        layer.build(input_shape)
        return layer

    def attend(self, query: Any, key_value: Any, training: bool | None) -> tuple[Any, Any]:
        """See `BlockAttention.attend`."""
        tokens = query.shape[1]
        # The heads share the keys, so they are simply more queries: no transpose, no broadcast.
        query = ops.reshape(query, (-1, tokens * self.num_heads, self.head_dim))
        key, value = ops.split(key_value, 2, axis=-1)
        probabilities = attention_probabilities(query, key)  # (B*T, N*h, N)
        values = ops.matmul(self.probabilities_dropout(probabilities, training=training), value)
        values = ops.reshape(values, (-1, tokens, self.num_heads * self.head_dim))
        by_head = ops.reshape(probabilities, (-1, tokens, self.num_heads, tokens))
        return values, ops.transpose(by_head, (0, 2, 1, 3))
