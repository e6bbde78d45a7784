"""The .weights.h5 files of Keras: what is in them, by the names of layers."""

import os
from typing import Any

import h5py
import keras
import numpy as np

from keras_nest.copies import local_file
from keras_nest.layers.changes import layers_by_path
from keras_nest.untrusted.hdf5_file import DAMAGED, check_weights

SUFFIX = ".weights.h5"
_SHOWN = 3


def read_weights_file(path: str | os.PathLike[str]) -> dict[str, list[np.ndarray]]:
    """The arrays of each layer, by its path such as "EncoderNDBlock_0/MlpBlock_0/Dense_0".

    Args:
        path: local, or an address.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is damaged.
    """
    with local_file(path, "file") as local:
        try:
            with h5py.File(local) as file:
                check_weights(file, local.stat().st_size)
                return {_layer_path(group): _arrays(group) for group in _groups(file)}
        except ValueError as error:
            raise ValueError(f"{os.fspath(path)} cannot be read: {error}.") from None
        except DAMAGED:
            raise ValueError(f"{os.fspath(path)} cannot be read; is it complete?") from None


def _groups(file: h5py.File) -> list[h5py.Group]:
    """Where the arrays of a layer lie; the layer's name is beside them."""
    groups: list[h5py.Group] = []
    file.visititems(lambda path, item: groups.append(item) if path.endswith("/vars") else None)
    return [group for group in groups if "name" in group.attrs]


def _layer_path(group: h5py.Group) -> str:
    names, outer = [], group.parent
    while outer.name != "/":
        if "vars" in outer and "name" in outer["vars"].attrs:
            names.append(outer["vars"].attrs["name"])
        outer = outer.parent
    return "/".join(reversed(names))


def _arrays(group: h5py.Group) -> list[np.ndarray]:
    return [group[key][()] for key in sorted(group, key=int)]


def stored(layer: keras.layers.Layer) -> list[Any]:
    """What a layer itself writes into such a file, in order."""
    store: dict[str, Any] = {}
    layer.save_own_variables(store)
    return list(store.values())


def mismatches(model: keras.Model, path: str | os.PathLike[str]) -> str:
    """Which layers of a model find no arrays of their shapes in a file, in words; "" if all do.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is damaged.
    """
    arrays = read_weights_file(path)
    differing = {}
    for name, layer in layers_by_path(model).items():
        wanted = [tuple(value.shape) for value in stored(layer)]
        there = [array.shape for array in arrays.get(name, [])]
        if wanted != there:
            differing[name] = f"{name} ({_words(there)} in the file, {_words(wanted)} in the model)"
    shown = ", ".join(list(differing.values())[:_SHOWN])
    return shown if len(differing) <= _SHOWN else f"{shown} and {len(differing) - _SHOWN} more layers"


def _words(shapes: list[tuple[int, ...]]) -> str:
    return " and ".join(map(str, shapes)) or "nothing"
