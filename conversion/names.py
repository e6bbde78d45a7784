"""Names of tensors in checkpoints.

The Keras layer tree mirrors the Flax module tree, so a variable's path is its path in the checkpoint. What differs is
below, and it is the same for every model: there is no table of tensors.
"""

import keras
import numpy as np

# A checkpoint in memory: "params/PATH" and "batch_stats/PATH" -> array.
Tree = dict[str, np.ndarray]

# Leaf names that Keras fixes -> those of Flax.
_LEAVES = {
    "gamma": "scale",
    "beta": "bias",
    "moving_mean": "mean",
    "moving_variance": "var",
    "embeddings": "embedding",
}


def flax_path(keras_path: str) -> str:
    """Path of a Keras variable in the Flax variables, collection first.

    >>> flax_path("EncoderNDBlock_0/LayerNorm_0/gamma")
    'params/EncoderNDBlock_0/LayerNorm_0/scale'
    """
    *layers, leaf = keras_path.split("/")
    collection = "batch_stats" if leaf in ("moving_mean", "moving_variance") else "params"
    # A parameter in the root of the Flax tree is, in Keras, a layer with one variable of the same name.
    parents = [] if layers == [leaf] else layers
    return "/".join([collection, *parents, _LEAVES.get(leaf, leaf)])


def checkpoint_variables(model: keras.Model) -> dict[str, keras.Variable]:
    """The variables that a checkpoint holds, by Flax path: all but seed and metric states."""
    return {flax_path(variable.path): variable for variable in model.weights}


def model_tree(model: keras.Model) -> Tree:
    """Values of a model's variables, by Flax path."""
    return {path: np.asarray(variable) for path, variable in checkpoint_variables(model).items()}


def module_name(path: str) -> str:
    """Top-level module that a tensor belongs to."""
    return path.split("/")[1]
