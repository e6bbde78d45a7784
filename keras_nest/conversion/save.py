"""Keras weights -> checkpoint files."""

import logging
import os

import keras

from keras_nest.conversion.legacy import to_layout
from keras_nest.conversion.msgpack_file import write_msgpack
from keras_nest.conversion.names import model_tree
from keras_nest.conversion.npz_file import write_npz
from keras_nest.conversion.orbax_directory import write_orbax
from keras_nest.layers.changes import layers_by_path
from keras_nest.models.answers import task_of
from keras_nest.outputs import output_at
from keras_nest.places import as_place
from keras_nest.targets import SINGLE_LABEL

_LOGGER = logging.getLogger("keras_nest")


def write_checkpoint(
    model: keras.Model, path: str | os.PathLike[str], overwrite: bool = False, layout: str = "linen"
) -> int:
    """Writes a model's tensors, parameters and batch statistics, under their Flax names; and its image size.

    Args:
        model: a model of this package.
        path: .npz (plain paths, as published ViT files), .msgpack or .flax ({"params": …, "batch_stats": …}), or a
            name without suffix for an Orbax directory of the same tree. Local, or an address (gs://…).
        overwrite: replace what lies there.
        layout: "linen", or "pre_linen" for programs that expect the first published ViT files.

    Returns:
        Number of tensors written.

    Raises:
        ValueError: unknown suffix or layout, an address that TensorFlow does not know, or a quantized model.
        FileExistsError: the path exists and `overwrite` is false.
        ModuleNotFoundError: Orbax without the `flax` extra.
    """
    place = as_place(path)
    suffix = os.path.splitext(place)[1]
    writers = {".npz": write_npz, ".msgpack": write_msgpack, ".flax": write_msgpack}
    if suffix and suffix not in writers:
        raise ValueError(f"{place} cannot be written: the name must end in .npz, .msgpack or .flax, or have no suffix.")
    refuse_quantized(model)
    warn_of_task(model, str(place))
    tree = to_layout(model_tree(model), layout)
    image_size = getattr(model, "image_size", None)  # a text tower has none
    with output_at(place, overwrite) as partial:
        if not suffix:
            write_orbax(tree, partial, image_size)
        else:
            with open(partial, "wb") as file:
                writers[suffix](tree, file, image_size)
    return len(tree)


def warn_of_task(model: keras.Model, path: str) -> None:
    """Says what a file of other programs does not keep: that a head tells several classes, or a number."""
    task = task_of(model)
    if task != SINGLE_LABEL:
        _LOGGER.warning(
            "%s does not keep that the model tells %s; set model.task = %r after reading it.", path, task, task
        )


def refuse_quantized(model: keras.Model) -> None:
    """Refuses models whose matrices Keras quantized.

    Raises:
        ValueError: names a layer.
    """
    for path, layer in layers_by_path(model).items():
        if getattr(layer, "quantization_mode", None):
            raise ValueError(
                f"{path} is quantized ({layer.quantization_mode}), and checkpoints hold plain numbers; write the model "
                "as it was before."
            )
