"""A model's variables as a checkpoint holds them."""

from collections.abc import Iterable
from typing import Any

import keras
import numpy as np

from keras_nest.layers.attention import OutputProjection
from keras_nest.layers.changes import layers_by_path
from keras_nest.names import flax_path

# A checkpoint in memory: "params/PATH" and "batch_stats/PATH" -> array.
Tree = dict[str, np.ndarray]


def checkpoint_variables(model: keras.Model) -> dict[str, keras.Variable]:
    """The variables that a checkpoint holds, by Flax path: all but seed and metric states.

    Those of LiT's towers lie below the tower's name: "params/img/…", "params/txt/…".
    """
    variables, inside = {}, set()
    for name, tower in getattr(model, "towers", {}).items():
        for path, variable in checkpoint_variables(tower).items():
            collection, _, inner = path.partition("/")
            variables[f"{collection}/{name}/{inner}"] = variable
            inside.add(id(variable))
    owners = _owners(model)
    for variable in model.weights:
        # Variables that LoRA and quantization make have no path of their own.
        path, layer = owners.get(id(variable), ("", None))
        if id(variable) not in inside and not (_has_lora(layer) and variable.name.startswith("lora_")):
            variables[flax_path(f"{path}/{variable.name}" if layer else variable.path)] = variable
    return variables


def model_tree(model: keras.Model) -> Tree:
    """Values of a model's variables, by Flax path; what LoRA adds to a matrix is added."""
    owners = {key: layer for key, (_, layer) in _owners(model).items()}
    return {
        path: np.asarray(_merged(owners.get(id(variable)), variable))
        for path, variable in checkpoint_variables(model).items()
    }


def _owners(model: keras.Model) -> dict[int, tuple[str, keras.layers.Layer]]:
    """The innermost layer of each variable, and its path."""
    owners: dict[int, tuple[str, keras.layers.Layer]] = {}
    for path, layer in layers_by_path(model).items():
        path = path.rpartition("/")[0] if isinstance(layer, OutputProjection) else path
        owners |= {id(variable): (path, layer) for variable in layer.variables}
    return owners


def _has_lora(layer: keras.layers.Layer | None) -> bool:
    return bool(getattr(layer, "lora_enabled", False))


def _merged(layer: keras.layers.Layer | None, variable: keras.Variable) -> Any:
    # A quantized matrix is merged when it is saved.
    if (
        layer is None
        or not _has_lora(layer)
        or "int" in variable.dtype
        or variable.name not in ("kernel", "proj_kernel", "embeddings")
    ):
        return variable
    return getattr(layer, variable.name)


def belongs_to(path: str, modules: Iterable[str]) -> bool:
    """Whether a tensor lies in one of the modules, which are named by their Flax paths."""
    _, _, inner = path.partition("/")
    return any(inner == module or inner.startswith(f"{module}/") for module in modules)


def plain(path: str) -> str:
    """A path as a published .npz has it, for people."""
    return path.removeprefix("params/")
