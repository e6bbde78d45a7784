"""Checkpoint files <-> Keras weights.

`python -m conversion NAME CHECKPOINT OUT.keras` and back with `--to-flax`. Neither JAX nor Flax is needed, except for
Orbax directories and `--verify`.
"""

from keras_nest.conversion.augreg_index import augreg, augreg_best
from keras_nest.conversion.inside import load_weights
from keras_nest.conversion.load import LoadReport, load_model, name_of
from keras_nest.conversion.names import Tree, model_tree
from keras_nest.conversion.pytorch.write import write_timm, write_transformers
from keras_nest.conversion.save import write_checkpoint
from keras_nest.conversion.sources import read_checkpoint
from keras_nest.names import flax_path

__all__ = [
    "LoadReport",
    "Tree",
    "augreg",
    "augreg_best",
    "flax_path",
    "load_model",
    "load_weights",
    "model_tree",
    "name_of",
    "read_checkpoint",
    "write_checkpoint",
    "write_timm",
    "write_transformers",
]
