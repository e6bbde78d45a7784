"""The images that a model is most wrong and most unsure about, as one picture with their names."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from keras_nest.console import printable
from keras_nest.figures import fit_text, new_figure, picture_file
from keras_nest.places import Place
from keras_nest.report.cards import Card
from keras_nest.report.pictures import pixels_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_COLUMNS = 4
# In inches: the square of an image, the space between two, the text below one, a heading.
_SIDE, _GAP, _TEXT, _HEADING = 2.3, 0.2, 0.85, 0.5
_SIZE = 9  # of letters, in points


def write_mistakes(path: Place, wrong: Sequence[Card], unsure: Sequence[Card]) -> None:
    """Writes the picture; one that is there is replaced, or removed where there is nothing to show.

    Args:
        path: of the picture.
        wrong: images whose first answer is wrong, the most wrong first.
        unsure: images whose first two answers are nearly as probable, the most unsure first.

    Raises:
        OSError: it cannot be written.
    """
    groups = [(title, cards) for title, cards in (("Most wrong", wrong), ("Most unsure", unsure)) if cards]
    if not groups:
        path.unlink(missing_ok=True)
        return
    with picture_file(path, overwrite=True) as partial:
        draw_mistakes(groups).savefig(partial)


def draw_mistakes(groups: Sequence[tuple[str, Sequence[Card]]]) -> Figure:
    """Draws groups of images under their titles, each with its name, what it shows and what it is taken for."""
    columns = min(_COLUMNS, max(len(cards) for _, cards in groups))
    rows = [math.ceil(len(cards) / columns) for _, cards in groups]
    width, height = _GAP + columns * (_SIDE + _GAP), sum(_HEADING + count * (_SIDE + _TEXT) for count in rows)
    figure, top = new_figure(width, height), height
    figure.set_layout_engine("none")  # every place is given
    for count, (title, cards) in zip(rows, groups, strict=True):
        middle = (top - _HEADING / 2) / height
        figure.text(_GAP / width, middle, title, fontsize=13, fontweight="bold", va="center")
        top -= _HEADING
        for number, card in enumerate(cards):
            row, column = divmod(number, columns)
            left, bottom = _GAP + column * (_SIDE + _GAP), top - row * (_SIDE + _TEXT) - _SIDE
            axis = figure.add_axes((left / width, bottom / height, _SIDE / width, _SIDE / height))
            _draw_image(axis, pixels_of(card.picture))
            _write_below(axis, card)
        top -= count * (_SIDE + _TEXT)
    return figure


def _draw_image(axis: Axes, image: np.ndarray) -> None:
    """Draws an image at the bottom of a square, so that all cells are alike."""
    height, width = image.shape[:2]
    side, left, bottom = max(height, width), -0.5, height - 0.5
    axis.imshow(image)
    axis.set_axis_off()
    axis.set(xlim=(left - (side - width) / 2, left + (side + width) / 2), ylim=(bottom, bottom - side))


def _write_below(axis: Axes, card: Card) -> None:
    """Four lines: the file, its class, the answer, in red where it is wrong, and the second answer."""
    answers = [f"{name}, {100 * share:.1f} %" for name, share in card.answers[:2]]
    lines = [
        (os.path.basename(card.path), "dimgray"),
        (f"is {card.label}", "black"),
        (f"taken for {answers[0]}", "tab:green" if card.is_right else "tab:red"),
        *[(f"then {answer}", "dimgray") for answer in answers[1:]],
    ]
    for number, (line, color) in enumerate(lines):
        text = fit_text(printable(line), _SIDE, _SIZE)
        axis.annotate(
            text,
            (0.5, 0),
            xytext=(0, -4 - number * 1.35 * _SIZE),
            xycoords="axes fraction",
            textcoords="offset points",
            ha="center",
            va="top",
            fontsize=_SIZE,
            color=color,
            parse_math=False,
        )
