"""Checkpoint files <-> Keras weights.

`python -m conversion NAME CHECKPOINT OUT.keras` and back with `--to-flax`. Neither JAX nor Flax is needed, except for
Orbax directories and `--verify`.
"""

from conversion.load import LoadReport, load_model, load_weights
from conversion.names import Tree, model_tree
from conversion.save import write_checkpoint
from conversion.sources import read_checkpoint
from keras_nest.names import flax_path

__all__ = [
    "LoadReport",
    "Tree",
    "flax_path",
    "load_model",
    "load_weights",
    "model_tree",
    "read_checkpoint",
    "write_checkpoint",
]
