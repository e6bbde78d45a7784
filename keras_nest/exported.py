"""Exported models: how a SavedModel, a TFLite and an ONNX file are told from what a Keras model can be made of."""

import os
import pathlib

_GRAPH = "saved_model.pb"
# Suffix -> what it is, and who reads it.
_FILES = {
    ".tflite": ("a TFLite file", "only `keras-nest predict` reads"),
    ".onnx": ("an ONNX file", "nothing here reads"),
}


def find_saved_model(path: str | os.PathLike[str]) -> pathlib.Path | None:
    """Directory of a SavedModel: the path itself, or the newest of the numbered versions in it; None if there is none.

    Args:
        path: local.
    """
    path = pathlib.Path(path)
    if (path / _GRAPH).is_file():
        return path
    versions = [graph.parent for graph in path.glob(f"*/{_GRAPH}") if graph.parent.name.isdecimal()]
    return max(versions, key=lambda version: int(version.name), default=None)


def refuse_export(path: str | os.PathLike[str]) -> None:
    """Refuses exported models, which have no Keras layers any more.

    Args:
        path: of what shall be read as a model or a checkpoint.

    Raises:
        ValueError: it is one.
    """
    name = os.fspath(path)
    found = _FILES.get(pathlib.Path(name).suffix)
    if found is None and find_saved_model(name):
        found = "a SavedModel", "only `keras-nest predict` reads"
    if found:
        kind, reader = found
        raise ValueError(
            f"{name} is {kind}, which {reader}; give the .keras file or the directory of a training that it comes from."
        )
