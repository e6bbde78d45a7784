"""The picture of the digits demonstration: learning curves beside test images with true and predicted labels."""

import pathlib

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from keras_nest.data import Split
from keras_nest.training.pictures import draw_curves

GRID_ROWS, GRID_COLUMNS = 5, 8
MOST_WRONG = 2 * GRID_COLUMNS
WRONG, RIGHT = "tab:red", "tab:green"


def write(
    path: pathlib.Path,
    history: list[dict[str, float]],
    test: Split,
    predicted: np.ndarray,
    class_names: tuple[str, ...],
) -> None:
    """Draws the picture.

    Args:
        path: PNG file, overwritten.
        history: rows of a `keras_nest.training.history.History`.
        test: test images (N, H, W, C) uint8 and labels (N,).
        predicted: predicted classes (N,).
        class_names: names of the classes.
    """
    figure = Figure(figsize=(15, 7.2), layout="constrained")
    left, right = figure.subfigures(1, 2, width_ratios=[2, 3], wspace=0.03)
    left.suptitle("Learning curves", fontsize=13)
    draw_curves(left.subplots(2, 1, sharex=True), history)

    chosen = choose(test.labels, predicted)
    right.suptitle(describe(test.labels, predicted), fontsize=13)
    for axis, index in zip(right.subplots(GRID_ROWS, GRID_COLUMNS).flat, chosen, strict=False):
        draw_image(axis, test.images[index], class_names[test.labels[index]], class_names[predicted[index]])
    figure.savefig(path, dpi=110)


def describe(labels: np.ndarray, predicted: np.ndarray) -> str:
    """How many of all test images were misread, and how many of those are shown; both arrays (N,)."""
    wrong = int(np.sum(labels != predicted))
    if not wrong:
        return f"Test images, all {len(labels)} read correctly"
    shown = "all of them" if wrong <= MOST_WRONG else f"{MOST_WRONG} of them"
    return f"Test images, {wrong} of {len(labels)} misread ({shown} in red, the others are examples)"


def choose(labels: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Indices of the images to show: misread ones first, then every class in turn; labels and predictions (N,)."""
    wrong = np.flatnonzero(labels != predicted)
    right = np.flatnonzero(labels == predicted)
    # The n-th image of each class comes before the (n + 1)-th of any.
    turn = np.array([np.sum(labels[right[:place]] == labels[index]) for place, index in enumerate(right)])
    in_turn = right[np.lexsort((labels[right], turn))]
    return np.concatenate([wrong[:MOST_WRONG], in_turn])[: GRID_ROWS * GRID_COLUMNS]


def draw_image(axis: Axes, image: np.ndarray, true: str, predicted: str) -> None:
    """One image (H, W, C) with its labels; a misread one has a red frame."""
    color = RIGHT if true == predicted else WRONG
    axis.imshow(image[..., 0], cmap="gray_r")
    axis.set(xticks=[], yticks=[])
    axis.set_title(f"true {true}\npredicted {predicted}", fontsize=9, color=color)
    for spine in axis.spines.values():
        spine.set(color=color, linewidth=3 if true != predicted else 1)
