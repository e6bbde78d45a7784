"""Keras models to `.keras` files that Keras reads without this package."""

import os

import keras
import numpy as np

from keras_nest.export.exporters import exporter_for
from keras_nest.export.inference import in_float32
from keras_nest.export.module import image_shape
from keras_nest.export.stock_layers import in_stock_layers
from keras_nest.export.wrapped import AUTO, Preprocessing
from keras_nest.models.answers import model_config
from keras_nest.outputs import output_at
from keras_nest.places import Place, as_place
from keras_nest.specs import PreprocessingSpec


def to_keras(
    model: keras.Model,
    path: str | os.PathLike[str],
    overwrite: bool = False,
    *,
    head: str = "classifier",
    preprocessing: Preprocessing = AUTO,
) -> Place:
    """Writes the same network in layers and operations of Keras alone, which `keras.models.load_model` reads.

    It takes images float32 (B, H, W, C) in [0, 1] of the model's own size, normalizes them and gives what the model
    gives, in float32; it can be trained on. It is a plain functional model: it has no `endpoints` and no
    preprocessing that this package would find again, and it is not compiled. Every replica of a strategy draws the same
    dropout masks, as is Keras' way.

    Args:
        model: a built model with one image input.
        path: file to write, `.keras`, local or at an address (gs://…); it appears complete or not at all.
        overwrite: replace what lies there.
        head: "classifier", or "none" for the model without its head, which gives the embedding (B, C).
        preprocessing: as `to_saved_model` takes it.

    Returns:
        The path, as `to_saved_model` gives it.

    Raises:
        ValueError: a model that cannot be exported so, is quantized or has LoRA; another suffix, or an
            address that TensorFlow does not know.
        FileExistsError: something lies at `path` and `overwrite` is false.
        OSError: the directory cannot be written to.
    """
    place = as_place(path)
    if place.suffix != ".keras":
        raise ValueError(f"{place} must end with .keras.")
    exporter = exporter_for(model, preprocessing).up_to(head)
    exporter.check_keras()
    with output_at(place, overwrite) as partial:
        _normalizing(exporter.model).save(partial)
    return place


def _normalizing(model: keras.Model) -> keras.Model:
    """A model in stock layers that takes images in [0, 1]."""
    shape, network = image_shape(model), in_stock_layers(in_float32(model))
    images = x = keras.Input(shape, name="images", dtype="float32")
    if fields := model_config(model).get("preprocessing"):
        spec = PreprocessingSpec.from_dict(fields).broadcast(shape[-1])
        x = keras.layers.Normalization(mean=spec.mean, variance=np.square(spec.std), dtype="float32")(images)
    # `call` instead of the model itself, which would become a layer: so it stays one flat graph.
    return keras.Model(images, network.call(x), name=model.name)
