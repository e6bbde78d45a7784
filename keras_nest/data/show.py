"""A picture of what a recipe makes of images, by which a person can judge it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf

from keras_nest.data.pipeline import train_batches
from keras_nest.data.recipes import Recipe
from keras_nest.data.sources.base import ONLY_HOST, DatasetInfo, Examples, Host, Source
from keras_nest.figures import new_figure
from keras_nest.targets import MULTI_LABEL, REGRESSION
from keras_nest.types import Size

if TYPE_CHECKING:
    from matplotlib.figure import Figure

IMAGES, BATCHES = 8, 4
"""How many training images are shown, and how many times what the recipe makes of them."""
_CELL = 1.9  # inches: 224 pixels are shown one to one
# A line of a label has 22 characters of one width at most, so that neighbors do not meet.
_NAME_LENGTH = 15
_FONT: dict[str, Any] = {"family": "monospace", "fontsize": 9, "parse_math": False}


def draw_recipe(source: Source, recipe: Recipe, image_size: Size, seed: int = 0, title: str = "") -> Figure:
    """Draws training images as evaluation would take them, and below each what training makes of it.

    The first `IMAGES` training images that the seed gives are one batch; it goes through the whole pipeline `BATCHES`
    times, each time with other draws. Mixing is therefore among the images of the first row.

    Args:
        source: the data set.
        recipe: what happens to its training images.
        image_size: (height, width) in pixels.
        seed: of everything random.
        title: above the picture.

    Returns:
        Rows of axes, first that of evaluation; pixels as they were before normalization, and labels above them.

    Raises:
        ModuleNotFoundError: matplotlib is not installed.
    """
    rows = shown_batches(source, recipe, image_size, seed)
    smoothing = find_smoothing(recipe, source.info.num_classes)
    height, width = image_size
    columns = len(rows[0][0])
    figure = new_figure(_CELL * columns + 0.3, (_CELL * height / width + 0.4) * len(rows) + 0.5)
    figure.suptitle(title, parse_math=False, wrap=True)
    names = ["as in evaluation", *(f"training batch {n}" for n in range(1, len(rows)))]
    axes = figure.subplots(len(rows), columns, squeeze=False)
    for row, name, (images, labels) in zip(axes, names, rows, strict=True):
        row[0].set_ylabel(name)
        for axis, image, label in zip(row, as_pixels(images, recipe), labels, strict=True):
            axis.imshow(image)
            axis.set(xticks=[], yticks=[])
            axis.set_title(target_text(label, source.info, smoothing), **_FONT)
    return figure


def shown_batches(source: Source, recipe: Recipe, image_size: Size, seed: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """The batches of the picture.

    Args:
        source: the data set.
        recipe: what happens to its training images.
        image_size: (height, width) in pixels.
        seed: of everything random.

    Returns:
        Images float32 (B, H, W, 3) and labels, integer (B,) or float32 (B, K), of the same images in the same order:
        first as in evaluation, then `BATCHES` times as the model sees them in training. B is `IMAGES`, or less in a
        smaller data set.
    """
    count = min(IMAGES, len(source.train))
    few = _Few(source.train, seed, count)
    few_source = Source(source.info, few, few)

    def batches(recipe: Recipe, number: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        return train_batches(few_source, recipe, image_size, count, seed).take(number).as_numpy_iterator()

    return [*batches(Recipe(recipe.preprocessing), 1), *batches(recipe, BATCHES)]


def as_pixels(images: np.ndarray, recipe: Recipe) -> np.ndarray:
    """Inverse of `Recipe.normalize`, for the eye.

    Args:
        images: float32 (…, 3), normalized.
        recipe: whose mean and standard deviation they have.

    Returns:
        float (…, 3) in [0, 1]; what is darker than black or brighter than white is cut off.
    """
    return np.clip(images * np.array(recipe.preprocessing.std) + np.array(recipe.preprocessing.mean), 0, 1)


def find_smoothing(recipe: Recipe, classes: int) -> float:
    """The share that every class has in the labels of a recipe, whatever is in the image.

    Args:
        recipe: whose mixing may smooth labels.
        classes: number of classes.
    """
    if recipe.mix is None:
        return 0.0
    # Mixed with its own class, an image keeps its label.
    _, labels = recipe.mix(tf.zeros([2, 8, 8, 3]), tf.zeros([2], tf.int32), tf.constant([0, 0]), classes)
    return float(np.min(labels))


def target_text(label: np.ndarray, info: DatasetInfo, smoothing: float) -> str:
    """What is told of an image in words: `label_text`, the names of several classes, or a number in its own unit.

    Args:
        label: as a batch has it.
        info: of the data set.
        smoothing: as for `label_text`.
    """
    if info.target.task == REGRESSION:
        mean, deviation = info.scale
        return f"{_shorten(info.class_names[0])} {mean + deviation * float(label[0]):.4g}"
    if info.target.task == MULTI_LABEL:
        return "\n+ ".join(_shorten(info.class_names[k]) for k in np.flatnonzero(label)) or "none of the classes"
    return label_text(label, info.class_names, smoothing)


def label_text(label: np.ndarray, class_names: Sequence[str], smoothing: float) -> str:
    """A label in words: "cat", or "cat 0.72 + dog 0.21" with the plus on a new line.

    Args:
        label: an integer scalar, or probabilities (K,).
        class_names: K names; long ones are shortened in the middle.
        smoothing: of `find_smoothing`; a share that adds less than .005 to it is left out, but for the largest.
    """
    if label.ndim == 0:
        return _shorten(class_names[int(label)])
    first, *others = np.argsort(-label, kind="stable")
    shown = [first, *(k for k in others if label[k] >= smoothing + 0.005)]
    return "\n+ ".join(f"{_shorten(class_names[k])} {label[k]:.2f}" for k in shown)


def _shorten(name: str) -> str:
    """In the middle, as the ends of class names tell them apart."""
    name = " ".join(name.split())
    kept = _NAME_LENGTH - 1
    return name if len(name) <= _NAME_LENGTH else f"{name[: kept - kept // 2]}…{name[-(kept // 2) :]}"


class _Few(Examples):
    """The first images of a shuffled data set, again and again in the same order."""

    def __init__(self, examples: Examples, seed: int, count: int) -> None:
        self._count = count
        self._images = examples.shuffled(seed, ONLY_HOST, 0).take(count).cache()

    def __len__(self) -> int:
        return self._count

    def in_order(self, host: Host) -> tf.data.Dataset:
        return self._images

    def shuffled(self, seed: int, host: Host, first: int) -> tf.data.Dataset:
        return self._images.repeat().skip(first)
