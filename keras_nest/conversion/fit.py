"""Tensors for another image size, or another number of input channels, than the checkpoint's."""

import dataclasses
import math
from typing import Any

import keras
import numpy as np

from keras_nest.conversion.names import Tree, plain
from keras_nest.layers.changes import layers_by_path
from keras_nest.layers.embeddings import Scale
from keras_nest.models import ImageModel
from keras_nest.types import Size


@dataclasses.dataclass
class Fitted:
    """A checkpoint's tensors on their way into a model.

    Attributes:
        values: by Flax path, fitted or as they were.
        changed: a sentence for each fitted one.
        assumed: a sentence for what the checkpoint does not tell and numbers of tokens leave open.
        refused: why others could not be fitted, by path.
    """

    values: Tree = dataclasses.field(default_factory=dict)
    changed: list[str] = dataclasses.field(default_factory=list)
    assumed: list[str] = dataclasses.field(default_factory=list)
    refused: dict[str, str] = dataclasses.field(default_factory=dict)


def fit(
    model: ImageModel,
    variables: dict[str, keras.Variable],
    values: Tree,
    resize_method: str,
    source_size: Size | None,
    drop_class_token: bool = False,
) -> Fitted:
    """Fits tensors to a model where that has a meaning, and leaves the others alone.

    Args:
        model: the model.
        variables: its variables by Flax path.
        values: tensors for some of them.
        resize_method: "block" or "grid", see `PositionEmbedding.resize`.
        source_size: height and width of the checkpoint's images; None takes as many tokens as the model has for the
            same ones, and others for a square.
        drop_class_token: the checkpoint has a class token and the model has none.
    """
    # Of the layers that a variable lies in, the innermost.
    layers = {id(variable): layer for layer in layers_by_path(model).values() for variable in layer.variables}
    channels = model.config["in_channels"]
    grid = token_grid(model, model.image_size)
    source = token_grid(model, source_size) if source_size else None
    scale = (source[0] / grid[0], source[1] / grid[1]) if grid and source else None
    fixed = getattr(image_tower(model), "FIXED_BY_IMAGE_SIZE", ())
    if fixed and grid and source and source != grid and math.prod(source) == math.prod(grid):
        raise ValueError(
            "it was trained on {} x {} tokens, the model's images have {} x {}: a checkpoint of it fits its own "
            "image_size only.".format(*source, *grid)
        )
    fitted, depends = Fitted(), False
    for path, value in values.items():
        shape = tuple(variables[path].shape)
        layer = layers.get(id(variables[path]))
        sentence = None
        depends |= hasattr(layer, "resize") or not set(fixed).isdisjoint(path.split("/"))
        if drop_class_token and hasattr(layer, "class_token"):
            value = value[:, 1:]
            fitted.changed.append(f"{plain(path)} lost the vector of the class token, which the model does without.")
        if value.ndim == len(shape) and hasattr(layer, "resize"):
            try:
                value, sentence = _resize(layer, value, shape, resize_method, scale)
            except ValueError as error:
                fitted.refused[path] = str(error)
        elif value.shape != shape == (*value.shape[:2], channels, *value.shape[3:]) and value.shape[2] == 3:
            value, sentence = _fit_channels(value, channels)
        fitted.values[path] = value
        if sentence:
            fitted.changed.append(f"{plain(path)} was {sentence}.")
    if depends and scale is None and grid and grid[0] != grid[1]:
        resized = any("resized" in sentence for sentence in fitted.changed)
        fitted.assumed.append(
            "The checkpoint does not tell its image size and is read as one of {}; if it is another, convert it at its "
            "own first: the .keras or .npz written then tells it.".format(
                "square images" if resized else "{} x {}".format(*model.image_size)
            )
        )
    return fitted


def image_tower(model: keras.Model) -> keras.Model:
    """The model that sees the images: LiT's image tower, or the model itself."""
    return getattr(model, "image_model", model)


def token_grid(model: keras.Model, image_size: Size) -> Size | None:
    """Height and width in tokens of images of any size, as a model embeds them; None for a model of another package."""
    tower = image_tower(model)
    stem = getattr(tower, "endpoints", {}).get("stem")
    if stem is None:
        return None
    # From the images to the stem, every model of this package is a chain of layers.
    shape = (None, *image_size, tower.input.shape[-1])
    for layer in keras.Model(tower.input, stem).layers[1:]:
        shape = layer.compute_output_shape(shape)
    return shape[1], shape[2]


def _resize(
    layer: Any, value: np.ndarray, shape: tuple[int, ...], method: str, scale: Scale | None
) -> tuple[np.ndarray, str | None]:
    """A position embedding of another image size, and what was done."""
    block = layer.source_block(value, scale)
    if block == layer.block and value.shape == shape:
        return value, None
    old, new = ("{} x {}".format(*size) for size in (block, layer.block))
    return layer.resize(value, block, method), f"resized from {old} to {new} tokens" if old != new else None


def _fit_channels(kernel: np.ndarray, channels: int) -> tuple[np.ndarray, str]:
    """The first kernel (p, p, 3, C) for images of other channels, and what was done.

    A gray image gives what it gives as red, green and blue, but for the hybrids, whose weight standardization gives the
    sum another scale. More channels take turns; the sum over them keeps its size.
    """
    if channels == 1:
        return kernel.sum(axis=2, keepdims=True), "fitted to gray images by adding up red, green and blue"
    repeated = kernel[:, :, np.arange(channels) % 3] * np.float32(3 / channels)
    return repeated, f"fitted to {channels} channels by repeating those of red, green and blue, times 3 / {channels}"
