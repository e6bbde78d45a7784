"""Where images enter a model of this package, marked in its graph."""

from collections.abc import Callable, Mapping
from typing import Any

import keras

from keras_nest.types import Shape


@keras.saving.register_keras_serializable(package="keras_nest")
class ImageInput(keras.layers.Layer):
    """The first layer of a model of images: it returns its input, and its configuration says whose input that is.

    A user's `keras.Model(model.input, …)` and `keras.models.clone_model(model)` consist of the model's layers alone. By
    this one, in memory and in a file, `keras_nest.models.parts` finds what images must become for the model, and which
    layer is which part of which architecture.

    Args:
        architecture: registered name of the model's class, such as "keras_nest>NesT".
        fields: arguments of that class.
        **kwargs: the usual layer arguments.
    """

    def __init__(self, architecture: str, fields: Mapping[str, Any], **kwargs: Any) -> None:
        # Images stay as they are under mixed precision, too: the next layer casts them.
        super().__init__(**{"name": "image_input", "autocast": False, **kwargs})
        self.architecture = architecture
        # What a model sets here gives its arguments as they are now: its preprocessing may be replaced.
        self.describe: Callable[[], dict[str, Any]] = lambda: dict(fields)

    def call(self, images: Any) -> Any:
        return images

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "architecture": self.architecture, "fields": self.describe()}
