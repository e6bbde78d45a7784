"""Data sets by name, and what happens to their images before the model sees them."""

import difflib
from collections.abc import Callable

from keras_nest.data import digits
from keras_nest.data.augmentation import create_augmentation, random_shift
from keras_nest.data.info import DatasetInfo, Split
from keras_nest.data.pipeline import eval_batches, steps_per_epoch, train_batches
from keras_nest.layers.image_blocks import Size

__all__ = [
    "DATASETS",
    "DatasetInfo",
    "Split",
    "create_augmentation",
    "eval_batches",
    "load",
    "random_shift",
    "steps_per_epoch",
    "train_batches",
]

DATASETS: dict[str, Callable[..., tuple[Split, Split, DatasetInfo]]] = {"digits": digits.load}


def load(name: str, image_size: int | Size = 32) -> tuple[Split, Split, DatasetInfo]:
    """A data set, in memory.

    Args:
        name: "digits", the 1,797 handwritten digits inside scikit-learn.
        image_size: side or (height, width) of the images in pixels.

    Returns:
        train, test: uint8 images (N, H, W, 3), int32 labels (N,); and sizes and class names.

    Raises:
        ValueError: unknown name; the known ones are listed.
        ModuleNotFoundError: the package that holds the data is not installed.
    """
    if name not in DATASETS:
        near = difflib.get_close_matches(name, DATASETS, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(map(repr, DATASETS))}."
        raise ValueError(f"There is no data set {name!r}; {hint}")
    return DATASETS[name](image_size)
