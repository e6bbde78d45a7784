"""A checkpoint's tensors into a model of this package, wherever its layers are."""

import os
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import keras

from keras_nest.conversion import load
from keras_nest.conversion.load import LoadReport
from keras_nest.conversion.names import Tree
from keras_nest.models.base import PublishedModel
from keras_nest.models.user_model import model_inside
from keras_nest.models.wrapping import trace
from keras_nest.types import Size


def load_weights(
    model: keras.Model,
    tree: Tree,
    reinit_head: bool = False,
    resize_method: str = "block",
    source_size: Size | None = None,
    given: Mapping[str, Any] = MappingProxyType({}),
    source: Mapping[str, Any] = MappingProxyType({}),
) -> LoadReport:
    """Puts a checkpoint's tensors into a model; all of them or, on an error, none.

    Args:
        model: of this package; or one around one such or of its layers, as `keras.models.clone_model` makes it. The
            user's own layers stay as they are, a head in the place of the model's among them.
        tree: what `read_checkpoint` returns: "params/PATH" and "batch_stats/PATH" -> array.
        reinit_head: set the head to zero, whatever the checkpoint holds.
        resize_method: one of `RESIZE_METHODS`, see `keras_nest.create_model`; tensors alone do not tell timm's.
        source_size: height and width of the checkpoint's images. None takes as many tokens as the model has for the
            same ones, and others for a square.
        given: fields of the model that the user set. Patches of another size than the checkpoint's, and fewer blocks,
            fit where they are among them, and are a mistake where they are not.
        source: fields of the checkpoint's model, as far as they are known.

    Returns:
        What was done.

    Raises:
        ValueError: tensors are missing, left over or of another shape; or no model of this package is inside, several
            are, or a part of it was left out.
    """
    if isinstance(tree, (str, os.PathLike)):
        raise ValueError(f"{os.fspath(tree)} is a path; give what read_checkpoint({os.fspath(tree)!r}) returns.")
    options = (reinit_head, resize_method, source_size, given, source)
    if isinstance(model, PublishedModel):
        return load.load_weights(model, tree, *options)
    # Taken apart, it is another model with the same weights.
    inside = model_inside(model)
    report = load.load_weights(inside, tree, *options)
    (part,) = trace(model).parts
    theirs = part.layers()
    for layer in inside.layers:
        if layer.weights:
            theirs[layer.name].set_weights(layer.get_weights())
    return report
