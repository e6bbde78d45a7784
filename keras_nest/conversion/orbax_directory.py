"""Orbax checkpoint directories; needs the `flax` extra."""

import contextlib
import math
import pathlib
import tempfile
from collections.abc import Iterator
from typing import Any

import numpy as np

from keras_nest import buckets
from keras_nest.console import shorten
from keras_nest.conversion.image_size import FIELD, told_size
from keras_nest.conversion.names import Tree
from keras_nest.conversion.tree import flattened, select_variables, unflatten
from keras_nest.copies import copy
from keras_nest.files import check_regular
from keras_nest.optional import import_optional
from keras_nest.places import standing_for
from keras_nest.types import Size
from keras_nest.untrusted.limits import check_claim
from keras_nest.untrusted.tensors import check_dtype, check_shape

_KNOWN = ("gs://", "s3://")
_LONGEST_REASON = 300
MARKERS = ("_METADATA", "_CHECKPOINT_METADATA", "manifest.ocdbt")


def read_orbax(directory: str) -> Tree:
    """Parameters and batch statistics of an Orbax directory of one PyTree.

    Args:
        directory: the step's directory, or the item inside it.

    Raises:
        ModuleNotFoundError: the `flax` extra is not installed.
        ValueError: no tensors inside.
    """
    with _readable(directory) as path, _telling():
        if "://" not in path:
            for name in buckets.files_below(path):
                check_regular(f"{path}/{name}")
        checkpointer = _checkpointer()
        _check_claims(path, checkpointer.metadata(path).item_metadata)
        restored = checkpointer.restore(path)
    return select_variables({path: _as_array(value) for path, value in flattened(restored).items()})


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
    with _readable(directory) as path, _telling():
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


def _check_claims(path: str, metadata: Any) -> None:
    """Refuses arrays that are declared larger than the directory, or are none of numbers, before they are read."""
    if metadata is None:
        raise ValueError("what says which arrays it holds is missing or damaged")
    files = [buckets.size(f"{path}/{name}") for name in buckets.files_below(path)]
    claimed = 0
    for name, array in flattened(metadata.tree if hasattr(metadata, "tree") else metadata).items():
        if hasattr(array, "shape") and array.dtype is not None:
            check_dtype(name, np.dtype(array.dtype))
            claimed += math.prod(check_shape(name, array.shape)) * np.dtype(array.dtype).itemsize
    check_claim(claimed, sum(files))


@contextlib.contextmanager
def _telling() -> Iterator[None]:
    """What Orbax and what it reads with say about damaged directories, in a sentence; it is listed nowhere.

    Raises:
        ValueError: see above.
    """
    try:
        yield
    except ModuleNotFoundError:
        raise
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(f"it is no Orbax checkpoint, or damaged: {shorten(reason, _LONGEST_REASON)}") from None


def _as_array(value: Any) -> Any:
    return np.asarray(value) if hasattr(value, "shape") else value
