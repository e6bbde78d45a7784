"""Images to try a model on: those that its own training measured it with, else two photographs of scikit-learn."""

import importlib.resources
import itertools
import pathlib
from collections.abc import Iterator

from keras_nest.data.sources.table import Row, read_table
from keras_nest.run_files import IMAGES, MODEL

MOST = 8
"""How many images are shown."""

_PARTS = ("test", "val")


def find_examples(source: str) -> list[pathlib.Path]:
    """Files of images, those of different classes first.

    Args:
        source: what a model is opened from; of the directory of `keras-nest finetune`, or its model in it, the images
            that measured it.
    """
    path = pathlib.Path(source)
    table = (path.parent if path.name == MODEL else path) / IMAGES
    own = list(itertools.islice(_measuring(table), MOST)) if table.is_file() else []
    samples = importlib.resources.files("sklearn.datasets") / "images"
    return own or [pathlib.Path(str(samples / name)) for name in ("china.jpg", "flower.jpg")]


def _measuring(table: pathlib.Path) -> Iterator[pathlib.Path]:
    """Files that are still there, one of each class in turns."""
    try:
        rows = read_table(table)
    except (ValueError, OSError):
        return
    part = next((part for part in _PARTS if any(row.part == part for row in rows)), None)
    classes: dict[str, list[Row]] = {}
    for row in rows:
        if row.part == part and part is not None:
            classes.setdefault(row.label, []).append(row)
    for turn in itertools.zip_longest(*classes.values()):
        files = (table.parent / row.file for row in turn if row is not None)
        yield from (file for file in files if file.is_file())
