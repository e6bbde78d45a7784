"""Pictures of a run: its curves, and what it takes for what."""

import logging
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_nest.console import printable, shorten
from keras_nest.figures import new_figure, picture_file, plain_logarithmic
from keras_nest.places import Place
from keras_nest.training.history import Row
from keras_nest.training.measures import OF_CLASSES, Measures

_LOGGER = logging.getLogger(__name__)
# Counts are written into the cells of a confusion matrix up to this number of classes.
_COUNTS_SHOWN = 20
_LONGEST_NAME = 28
_LETTER = 0.08  # inches that a letter of a class takes, about


def write_curves(path: pathlib.Path, rows: list[Row], evaluated: str = "test", measures: Measures = OF_CLASSES) -> None:
    """Draws loss and accuracy (or what is measured instead) over the epochs.

    Without matplotlib the picture is left out, which is logged.
    """
    figure = _figure(path, 9, 3.6)
    if figure is not None:
        draw_curves(figure.subplots(1, 2), rows, evaluated, measures)
        _write(figure, path)


def write_confusion(path: Place, counts: np.ndarray, class_names: Sequence[str]) -> None:
    """Draws how many images of each class were taken for which.

    Args:
        path: of the picture; without matplotlib it is left out, which is logged.
        counts: integer (K, K): a row for each true class, a column for each predicted one.
        class_names: K names.
    """
    names = min(_LONGEST_NAME, max(map(len, class_names))) * _LETTER
    side = 1.8 + names + (0.42 if len(counts) <= _COUNTS_SHOWN else 0.16) * len(counts)
    figure = _figure(path, max(4.5, side), max(4.0, side - 0.4))
    if figure is not None:
        draw_confusion(figure.subplots(), counts, class_names)
        _write(figure, path)


def draw_curves(axes: Any, rows: list[Row], evaluated: str = "test", measures: Measures = OF_CLASSES) -> None:
    """Draws loss (first axes, logarithmic) and accuracy (second axes, in percent) of training and evaluation.

    Args:
        axes: two matplotlib axes.
        rows: of a `History`; the last one has an evaluation.
        evaluated: what the images are called that were evaluated.
        measures: what the second axes show, if that is not the accuracy.
    """
    of_hundred = 100 if measures.is_share else 1
    measured = [row for row in rows if "eval_loss" in row]
    for axis, quantity, scale in zip(axes, ("loss", measures.quantity), (1, of_hundred), strict=True):
        for name, shown, label, color in (
            (quantity, rows, "training (augmented)", "tab:gray"),
            (f"eval_{quantity}", measured, evaluated, "tab:blue"),
        ):
            marker = "o" if len(shown) < 2 else ""
            epochs, values = [row["epoch"] for row in shown], [scale * row[name] for row in shown]
            axis.plot(epochs, values, marker=marker, label=label, color=color)
        axis.plot(measured[-1]["epoch"], scale * measured[-1][f"eval_{quantity}"], "o", color="tab:blue")
        axis.grid(alpha=0.3)
        axis.set_xlabel("epoch")
    plain_logarithmic(axes[0])
    axes[0].set(title=f"loss ({evaluated}, at the end: {measured[-1]['eval_loss']:.3f})")
    at_the_end = of_hundred * measured[-1][f"eval_{measures.quantity}"]
    title, ending = (f"{measures.title} in %", ".2f") if measures.is_share else (measures.title, ".4g")
    axes[1].set(title=f"{title} ({evaluated}, at the end: {at_the_end:{ending}})")
    axes[0].legend()


def draw_confusion(axis: Any, counts: np.ndarray, class_names: Sequence[str]) -> None:
    """Draws a confusion matrix; colors are fractions of the true class.

    Args:
        axis: matplotlib axes.
        counts: integer (K, K): a row for each true class, a column for each predicted one.
        class_names: K names.
    """
    totals = counts.sum(axis=1, keepdims=True)
    shares = counts / np.maximum(totals, 1)
    axis.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    ticks, size = range(len(counts)), 9 if len(counts) <= _COUNTS_SHOWN else 6
    names = [shorten(printable(name), _LONGEST_NAME) for name in class_names]
    rotation = 90 if max(map(len, names)) > 2 else 0
    axis.set_xticks(ticks, names, rotation=rotation, fontsize=size, parse_math=False)
    axis.set_yticks(ticks, names, fontsize=size, parse_math=False)
    right, total = int(np.trace(counts)), int(counts.sum())
    axis.set(xlabel="predicted", ylabel="true", title=f"{right:,} of {total:,} right ({right / max(total, 1):.2%})")
    if len(counts) <= _COUNTS_SHOWN:
        for row, column in np.argwhere(counts):
            color = "white" if shares[row, column] > 0.5 else "black"
            axis.text(column, row, str(counts[row, column]), ha="center", va="center", color=color, fontsize=8)


def _figure(path: Place, width: float, height: float) -> Any:
    try:
        return new_figure(width, height)
    except ModuleNotFoundError as error:
        _LOGGER.warning("%s is left out. %s", path.name, error)
        return None


def _write(figure: Any, path: Place) -> None:
    with picture_file(path, overwrite=True) as partial:
        figure.savefig(partial)
