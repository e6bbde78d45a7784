"""An image beside what a model takes it for."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from keras_nest.console import shorten
from keras_nest.figures import new_figure, picture_file

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_LONGEST_NAME = 28
_LARGEST_SIDE = 512  # pixels that are drawn; a photograph has more than the picture shows


def save_picture(
    path: str | os.PathLike[str],
    image: np.ndarray,
    title: str,
    answers: Sequence[tuple[str, float]],
    overwrite: bool = False,
) -> None:
    """Writes a picture of an image and its most probable classes.

    Args:
        path: of the picture.
        image: uint8 (h, w, 3).
        title: above the image.
        answers: names and probabilities of classes, best first.
        overwrite: replace what lies there.

    Raises:
        ModuleNotFoundError: matplotlib is not installed.
        OSError: the picture exists or cannot be written.
    """
    with picture_file(path, overwrite) as partial:
        draw(image, title, answers).savefig(partial)


def draw(image: np.ndarray, title: str, answers: Sequence[tuple[str, float]]) -> Figure:
    """Draws it; arguments as above."""
    figure = new_figure(7.6, 3.4)
    left, right = figure.subplots(1, 2, width_ratios=(1, 1.1))
    step = max(1, -(-max(image.shape[:2]) // _LARGEST_SIDE))
    left.imshow(image[::step, ::step])
    left.set(xticks=[], yticks=[])
    left.set_title(title, fontsize=10, parse_math=False)
    draw_answers(right, answers)
    return figure


def draw_answers(axis: Axes, answers: Sequence[tuple[str, float]]) -> None:
    """Bars of names and probabilities of classes, best first."""
    names = [shorten(name, _LONGEST_NAME) for name, _ in answers]
    shares = [100 * share for _, share in answers]
    colors = ["tab:blue", *["tab:gray"] * (len(answers) - 1)]
    bars = axis.barh(range(len(answers)), shares, color=colors, height=0.6)
    axis.bar_label(bars, [f"{share:.1f} %" for share in shares], padding=3, fontsize=10)
    axis.set_yticks(range(len(answers)), names, fontsize=10, parse_math=False)
    axis.invert_yaxis()
    axis.set(xlim=(0, 100), xticks=(0, 25, 50, 75, 100), xlabel="probability in %")
    axis.spines[["top", "right"]].set_visible(False)
