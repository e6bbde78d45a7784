"""Checkpoint files <-> Keras weights.

`python -m conversion NAME CHECKPOINT OUT.keras` and back with `--to-flax`. Neither JAX nor Flax is needed, except for
Orbax directories and `--verify`.
"""

from quiet_start import quiet_when_run

with quiet_when_run():
    from conversion.augreg import augreg, augreg_best
    from conversion.load import LoadReport, load_model, load_weights, name_of
    from conversion.names import Tree, model_tree
    from conversion.save import write_checkpoint
    from conversion.sources import read_checkpoint
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
]
