"""Tensors for another image size, or another number of input channels, than the checkpoint's."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import keras
import numpy as np

from keras_nest.conversion.names import Tree, plain
from keras_nest.conversion.parts import parts
from keras_nest.conversion.patches import resize_kernel
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
    given: Mapping[str, Any] = MappingProxyType({}),
) -> Fitted:
    """Fits tensors to a model where that has a meaning, and leaves the others alone.

    Args:
        model: the model.
        variables: its variables by Flax path.
        values: tensors for some of them.
        resize_method: one of `RESIZE_METHODS`, see `PositionEmbedding.resize` and `resize_maps`.
        source_size: height and width of the checkpoint's images; None takes as many tokens as the model has for the
            same ones, and others for a square.
        drop_class_token: the checkpoint has a class token and the model has none.
        given: fields of the model that the user set; patches of another size are resized to one among them only.

    Raises:
        ValueError: no other number of tokens than the checkpoint's fits.
    """
    # Of the layers that a variable lies in, the innermost.
    layers = {id(variable): layer for layer in layers_by_path(model).values() for variable in layer.variables}
    channels = model.config["in_channels"]
    grid = token_grid(model, model.image_size)
    kernels = _patch_kernels(model, given, values)
    source = token_grid(model, source_size, _patch_size(kernels, values)) if source_size else None
    scale = (source[0] / grid[0], source[1] / grid[1]) if grid and source else None
    fixed = getattr(image_tower(model), "FIXED_BY_IMAGE_SIZE", ())
    if fixed and grid:
        _check_tokens(grid, source, fixed, values)
    fitted, depends = Fitted(), False
    for path, value in values.items():
        shape = tuple(variables[path].shape)
        layer = layers.get(id(variables[path]))
        sentence = None
        depends |= hasattr(layer, "resize") or not set(fixed).isdisjoint(path.split("/"))
        if drop_class_token and hasattr(layer, "class_token"):
            value = value[:, 1:]
            fitted.changed.append(f"{plain(path)} lost the vector of the class token, which the model does without.")
        if path in kernels and value.shape[:2] != shape[:2] and value.shape[3] == shape[3]:
            old, value = value.shape[:2], resize_kernel(value, (shape[0], shape[1]))
            patches = "{} x {} to {} x {}".format(*old, *shape[:2])
            fitted.changed.append(f"{plain(path)} was resized from patches of {patches} by the pseudo-inverse.")
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


def _check_tokens(grid: Size, source: Size | None, fixed: Sequence[str], values: Tree) -> None:
    """Refuses another number or arrangement of tokens than a checkpoint's, where layers are fixed to it."""
    kernels = (value for path, value in values.items() if path.endswith(f"{fixed[0]}/Dense_0/kernel"))
    kernel = next(kernels, None)
    tokens = math.prod(source) if source else math.prod(grid) if kernel is None else kernel.shape[0]
    if tokens != math.prod(grid) or (source or grid) != grid:
        there = "{} x {}".format(*source) if source else f"{tokens}"
        raise ValueError(
            "its {} was trained on {} tokens, the model's images have {} x {}, and it fits no other than its own: "
            "leave image_size out and resize the images, or give a patch_size that makes as many.".format(
                fixed[0], there, *grid
            )
        )


def image_tower(model: keras.Model) -> keras.Model:
    """The model that sees the images: LiT's image tower, or the model itself."""
    return getattr(model, "image_model", model)


def _patch_kernels(model: ImageModel, given: Mapping[str, Any], values: Tree) -> list[str]:
    """Kernels of patches (height, width, channels, C) whose size the user set."""
    found = [part for part in parts(model, given) if getattr(part.model, "PATCHES", None)]
    chosen = [f"params/{part.prefix}{part.model.PATCHES[1]}/kernel" for part in found if part.sets(part.model.PATCHES)]
    return [path for path in chosen if path in values and values[path].ndim == 4]


def _patch_size(kernels: Sequence[str], values: Tree) -> Size | None:
    """The size of a checkpoint's patches, where it may differ from the model's."""
    return next(((values[path].shape[0], values[path].shape[1]) for path in kernels), None)


def token_grid(model: keras.Model, image_size: Size, patch_size: Size | None = None) -> Size | None:
    """Height and width in tokens of images, as a model embeds them; None for a model of another package.

    Args:
        model: the model.
        image_size: height and width of the images, any.
        patch_size: height and width of other patches than the model's.
    """
    tower = image_tower(model)
    stem = getattr(tower, "endpoints", {}).get("stem")
    if stem is None:
        return None
    # From the images to the stem, every model of this package is a chain of layers.
    shape = (None, *image_size, tower.input.shape[-1])
    *before, embedding = keras.Model(tower.input, stem).layers[1:]
    for layer in before:
        shape = layer.compute_output_shape(shape)
    if patch_size is None:
        return embedding.compute_output_shape(shape)[1:3]
    return keras.layers.Conv2D(
        1, patch_size, strides=patch_size, padding=getattr(embedding, "padding", "valid")
    ).compute_output_shape(shape)[1:3]


def _resize(
    layer: Any, value: np.ndarray, shape: tuple[int, ...], method: str, scale: Scale | None
) -> tuple[np.ndarray, str | None]:
    """A position embedding of another image size, and what was done."""
    block = layer.source_block(value, scale)
    if block == layer.block and value.shape == shape:
        return value, None
    old, new = ("{} x {}".format(*size) for size in (block, layer.block))
    how = "" if method in ("block", "grid") else f", bicubically as {method} does"
    return layer.resize(value, block, method), f"resized from {old} to {new} tokens{how}" if old != new else None


def _fit_channels(kernel: np.ndarray, channels: int) -> tuple[np.ndarray, str]:
    """The first kernel (p, p, 3, C) for images of other channels, and what was done.

    A gray image gives what it gives as red, green and blue, but for the hybrids, whose weight standardization gives the
    sum another scale. More channels take turns; the sum over them keeps its size.
    """
    if channels == 1:
        return kernel.sum(axis=2, keepdims=True), "fitted to gray images by adding up red, green and blue"
    repeated = kernel[:, :, np.arange(channels) % 3] * np.float32(3 / channels)
    return repeated, f"fitted to {channels} channels by repeating those of red, green and blue, times 3 / {channels}"
