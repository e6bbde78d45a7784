"""Images to try a model on: those that its own training measured it with, else two photographs of scikit-learn."""

import importlib.resources
import itertools
import pathlib
from collections.abc import Iterator, Sequence

from keras_nest.data.sources.table import Row, rows_of_run

MOST = 8
"""How many images are shown."""

_PARTS = ("test", "val")


def find_examples(source: str) -> list[pathlib.Path]:
    """Files of images, those of different classes first.

    Args:
        source: what a model is opened from; of the directory of `keras-nest finetune`, or its model in it, the images
            that measured it.
    """
    own = list(itertools.islice(_measuring(rows_of_run(source)), MOST))
    samples = importlib.resources.files("sklearn.datasets") / "images"
    return own or [pathlib.Path(str(samples / name)) for name in ("china.jpg", "flower.jpg")]


def _measuring(rows: Sequence[Row]) -> Iterator[pathlib.Path]:
    """Files that are still there, one of each class in turns."""
    part = next((part for part in _PARTS if any(row.part == part for row in rows)), None)
    classes: dict[str, list[Row]] = {}
    for row in rows:
        if row.part == part and part is not None:
            classes.setdefault(row.label, []).append(row)
    for turn in itertools.zip_longest(*classes.values()):
        files = (pathlib.Path(row.file) for row in turn if row is not None)
        yield from (file for file in files if file.is_file())
