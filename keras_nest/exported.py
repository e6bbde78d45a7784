"""Exported models: names of their files, and how they are told from what a Keras model can be made of."""

import os
import pathlib

from keras_nest.files import PARTIAL, is_address
from keras_nest.places import Place, as_place

# Of a SavedModel: its graph, and the folder of its assets, class names among them.
GRAPH, ASSETS, LABELS = "saved_model.pb", "assets", "labels.txt"
# The output of a model that tells numbers, in whatever format.
VALUES = "values"
# Packed into TFLite files, beside `LABELS`: arguments of `EvalPreprocessing`, and facts on a LiT.
PREPROCESSING, SIMILARITY = "preprocessing.json", "similarity.json"
# Suffix -> what it is, and who reads it.
_FILES = {
    ".tflite": ("a TFLite file", "only `keras-nest predict` reads"),
    ".onnx": ("an ONNX file", "nothing here reads"),
}


def find_saved_model(path: str | os.PathLike[str]) -> Place | None:
    """Directory of a SavedModel: the path itself, or the newest of the numbered versions in it; None if there is none.

    Args:
        path: local, or an address.

    Raises:
        ValueError: TensorFlow has no file system for such addresses.
        OSError: the address cannot be read.
    """
    place = as_place(path)
    candidates = (place, *reversed(numbered_versions(place)))
    return next((directory for directory in candidates if (directory / GRAPH).is_file()), None)


def numbered_versions(directory: Place) -> list[Place]:
    """Sub-directories whose names are numbers, as TF-Serving counts versions: the newest, which is the highest, last.

    Args:
        directory: one that does not exist has none.

    Raises:
        OSError: the address cannot be read.
    """
    entries: dict[str, Place] = {entry.name: entry for entry in directory.iterdir()} if directory.is_dir() else {}
    partial = {name.removeprefix(PARTIAL) for name in entries if name.startswith(PARTIAL)}
    versions = [
        entries[name] for name in entries if name.isdecimal() and name not in partial and entries[name].is_dir()
    ]
    return sorted(versions, key=lambda version: int(version.name))


def refuse_export(path: str | os.PathLike[str]) -> None:
    """Refuses exported models, which have no Keras layers any more.

    Args:
        path: of what shall be read as a model or a checkpoint.

    Raises:
        ValueError: it is one.
    """
    name = os.fspath(path)
    found = _FILES.get(pathlib.Path(name).suffix)
    # At an address only `predict` looks for one: to look takes time, and whoever reads checkpoints says what is there.
    if found is None and not is_address(name) and find_saved_model(name):
        found = "a SavedModel", "only `keras-nest predict` reads"
    if found:
        kind, reader = found
        raise ValueError(
            f"{name} is {kind}, which {reader}; give the .keras file or the directory of a training that it comes from."
        )
