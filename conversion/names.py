"""A model's variables as a checkpoint holds them."""

from collections.abc import Iterable

import keras
import numpy as np

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
    return variables | {flax_path(variable.path): variable for variable in model.weights if id(variable) not in inside}


def model_tree(model: keras.Model) -> Tree:
    """Values of a model's variables, by Flax path."""
    return {path: np.asarray(variable) for path, variable in checkpoint_variables(model).items()}


def belongs_to(path: str, modules: Iterable[str]) -> bool:
    """Whether a tensor lies in one of the modules, which are named by their Flax paths."""
    _, _, inner = path.partition("/")
    return any(inner == module or inner.startswith(f"{module}/") for module in modules)


def plain(path: str) -> str:
    """A path as a published .npz has it, for people."""
    return path.removeprefix("params/")
