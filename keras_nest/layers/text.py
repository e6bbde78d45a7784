"""From token ids to the vectors that a text transformer sees."""

from typing import Any

import keras
from keras import ops

from keras_nest.layers.base import Layer
from keras_nest.types import Shape


@keras.saving.register_keras_serializable(package="keras_nest")
class TokenEmbedding(keras.layers.Embedding):
    """A vector for every token id: (B, N) integers -> (B, N, C).

    `keras.layers.Embedding`, but for ids outside the vocabulary, which are an error there on some devices and zero on
    others.

    Sources: embedders of flaxformer (ids are clamped), `flax.linen.Embed` (they become NaN).

    Args:
        *args: size of the vocabulary and C, and more arguments of `keras.layers.Embedding`.
        clamp: ids beyond the vocabulary count as its last one; without, their vectors are NaN.
        **kwargs: the usual layer arguments.
    """

    def __init__(self, *args: Any, clamp: bool = False, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.clamp = clamp

    def call(self, inputs: Any) -> Any:
        ids = ops.cast(inputs, "int32")
        inside = ops.clip(ids, 0, self.input_dim - 1)
        x = super().call(inside)
        if self.clamp:
            return x
        return ops.where(ops.expand_dims(ops.equal(ids, inside), -1), x, ops.full_like(x, float("nan")))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "clamp": self.clamp}


@keras.saving.register_keras_serializable(package="keras_nest")
class TextPositions(Layer):
    """Adds a learned vector to every position of a text: (B, N, C) -> the same.

    Source: parameter `pos_embedding` (1, N, C) of the reference's `TextTransformer`, deviation 1 / sqrt(C) at first.
    """

    def build(self, input_shape: Shape) -> None:
        self.pos_embedding = self.add_weight(
            name="pos_embedding",
            shape=(1, *input_shape[1:]),
            initializer=keras.initializers.RandomNormal(stddev=input_shape[-1] ** -0.5),
        )

    def call(self, x: Any) -> Any:
        return x + ops.cast(self.pos_embedding, x.dtype)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return input_shape
