"""From a map to the sequence of tokens that a transformer sees, and back."""

import math
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_nest.layers.base import Layer
from keras_nest.layers.embeddings import Scale, resize_maps, source_block
from keras_nest.types import Shape, Size, pair

CLASSIFIERS = ("token", "gap", "unpooled", "token_unpooled")


def has_class_token(classifier: str) -> bool:
    """Whether a class token stands in front of the sequence: for "token" and "token_unpooled"."""
    return classifier.startswith("token")


@keras.saving.register_keras_serializable(package="keras_nest")
class MapToTokens(Layer):
    """Rows of a map one after the other: (B, H, W, C) -> (B, H * W, C)."""

    def call(self, x: Any) -> Any:
        _, height, width, channels = x.shape
        return ops.reshape(x, (-1, height * width, channels))

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        batch, height, width, channels = input_shape
        return batch, height * width, channels


@keras.saving.register_keras_serializable(package="keras_nest")
class TokensToMap(Layer):
    """The map that the last H * W tokens make: (B, N, C) -> (B, H, W, C); a class token in front is left out.

    Args:
        grid: height H and width W of the map.
        **kwargs: the usual layer arguments.
    """

    def __init__(self, grid: Size, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.grid = pair(grid)

    def call(self, x: Any) -> Any:
        x = x[:, x.shape[1] - math.prod(self.grid) :]
        return ops.reshape(x, (-1, *self.grid, x.shape[-1]))

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return input_shape[0], *self.grid, input_shape[-1]

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "grid": self.grid}


@keras.saving.register_keras_serializable(package="keras_nest")
class ClassToken(Layer):
    """Puts a learned token in front: (B, N, C) -> (B, N + 1, C).

    Source: parameter `cls` (1, 1, C) of the reference's `VisionTransformer`, zeros at first.
    """

    def build(self, input_shape: Shape) -> None:
        self.cls = self.add_weight(name="cls", shape=(1, 1, input_shape[-1]), initializer="zeros")

    def call(self, x: Any) -> Any:
        token = ops.broadcast_to(ops.cast(self.cls, x.dtype), (ops.shape(x)[0], 1, x.shape[-1]))
        return ops.concatenate([token, x], axis=1)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        batch, tokens, channels = input_shape
        return batch, tokens + 1, channels


@keras.saving.register_keras_serializable(package="keras_nest")
class PoolTokens(Layer):
    """What the head of a classifier or of a text tower sees of the tokens.

    (B, N, C) -> (B, C) for "token" (the first one), "last" and "gap" (the mean); the others keep the sequence.

    Args:
        classifier: "token", "last", "gap", "unpooled" or "token_unpooled".
        **kwargs: the usual layer arguments.
    """

    def __init__(self, classifier: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.classifier = classifier

    def call(self, x: Any) -> Any:
        match self.classifier:
            case "token":
                # Not x[:, 0]: XNNPACK computes slices only that keep their axes.
                return ops.reshape(x[:, :1], (-1, x.shape[-1]))
            case "last":
                return ops.reshape(x[:, -1:], (-1, x.shape[-1]))
            case "gap":
                return ops.mean(x, axis=1)
        return x

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        batch, _, channels = input_shape
        return (batch, channels) if self.classifier in ("token", "last", "gap") else input_shape

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "classifier": self.classifier}


@keras.saving.register_keras_serializable(package="keras_nest")
class AddPositionEmbs(Layer):
    """Adds a learned vector to every token, the class token too: (B, N, C) -> the same.

    Source: reference module `AddPositionEmbs`; the variable is (1, N, C).

    Args:
        grid: height and width of the map that the tokens come from.
        class_token: a class token stands in front, N = grid[0] * grid[1] + 1.
        **kwargs: the usual layer arguments.
    """

    def __init__(self, grid: Size, class_token: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.grid, self.class_token = pair(grid), class_token

    def build(self, input_shape: Shape) -> None:
        self.pos_embedding = self.add_weight(
            name="pos_embedding",
            shape=(1, *input_shape[1:]),
            initializer=keras.initializers.RandomNormal(stddev=0.02),
        )

    def call(self, x: Any) -> Any:
        return x + self.pos_embedding

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "grid": self.grid, "class_token": self.class_token}

    @property
    def block(self) -> Size:
        """The grid, under the name that position embeddings of blocked images have for theirs."""
        return self.grid

    def source_block(self, value: np.ndarray, scale: Scale | None = None) -> Size:
        """Height and width of the grid in the position embedding of another image size; see `source_block`."""
        return source_block(value.shape[1] - self.class_token, self.grid, scale)

    def resize(self, value: np.ndarray, block: Size, method: str = "block") -> np.ndarray:
        """Fits the position embedding of another image size to this layer; the class token's vector is kept as it is.

        Args:
            value: (1, N', C).
            block: height and width of its grid.
            method: see `resize_maps`; there are no blocks, so "block" and "grid" are the same here.

        Returns:
            (1, N, C), dtype of `value`.
        """
        in_front = int(self.class_token)
        maps = resize_maps(value[:, in_front:].reshape(1, *block, -1), self.grid, method)
        return np.concatenate([value[:, :in_front], maps.reshape(1, math.prod(self.grid), -1)], axis=1)
