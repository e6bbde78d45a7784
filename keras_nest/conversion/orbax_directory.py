"""Orbax checkpoint directories; needs the `flax` extra."""

import contextlib
import pathlib
import tempfile
from collections.abc import Iterator
from typing import Any

import numpy as np

from keras_nest.conversion.image_size import FIELD, told_size
from keras_nest.conversion.names import Tree
from keras_nest.conversion.tree import flatten, select_variables, unflatten
from keras_nest.copies import copy
from keras_nest.optional import import_optional
from keras_nest.places import standing_for
from keras_nest.types import Size

_KNOWN = ("gs://", "s3://")
MARKERS = ("_METADATA", "_CHECKPOINT_METADATA", "manifest.ocdbt")


def read_orbax(directory: str) -> Tree:
    """Parameters and batch statistics of an Orbax directory of one PyTree.

    Args:
        directory: the step's directory, or the item inside it.

    Raises:
        ModuleNotFoundError: the `flax` extra is not installed.
        ValueError: no tensors inside.
    """
    with _readable(directory) as path:
        restored = _checkpointer().restore(path)
    return select_variables({path: _as_array(value) for path, value in flatten(restored)})


def write_orbax(tree: Tree, directory: str | pathlib.Path, image_size: Size | None = None) -> None:
    """Writes {"params": …, "batch_stats": …} as an Orbax PyTree checkpoint.

    Args:
        tree: "params/PATH" and "batch_stats/PATH" -> array.
        directory: a directory that does not exist yet.
        image_size: height and width of the model's images; told in Orbax' custom metadata.

    Raises:
        ModuleNotFoundError: the `flax` extra is not installed.
    """
    told = {FIELD: list(image_size)} if image_size else None
    _checkpointer().save(pathlib.Path(directory).resolve(), unflatten(tree), custom_metadata=told)


def orbax_image_size(directory: str) -> Size | None:
    """Height and width of the model's images, if the checkpoint's custom metadata tell them.

    Args:
        directory: the step's directory, or the item inside it.

    Raises:
        ModuleNotFoundError: the `flax` extra is not installed.
    """
    with _readable(directory) as path:
        return told_size(_checkpointer().metadata(path).custom_metadata)


def _checkpointer() -> Any:
    purpose = "Orbax directories, unlike .npz and msgpack files, are read and written by Orbax"
    return import_optional("orbax.checkpoint", purpose, "[flax]").PyTreeCheckpointer()


@contextlib.contextmanager
def _readable(directory: str) -> Iterator[str]:
    """A path that Orbax reads; of an address that it does not know, that of a copy which goes at the end."""
    if directory.startswith(_KNOWN):
        yield directory
    elif "://" not in directory:
        yield str(pathlib.Path(directory).resolve())
    else:
        with tempfile.TemporaryDirectory() as folder:
            place = pathlib.Path(folder, "checkpoint")
            copy(directory, place)
            with standing_for(directory, place):
                yield str(place)


def _as_array(value: Any) -> Any:
    return np.asarray(value) if hasattr(value, "shape") else value
