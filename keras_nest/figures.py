"""Pictures: a figure to draw in, and a file that is complete or absent."""

from __future__ import annotations

import contextlib
import os
import pathlib
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING

from keras_nest.optional import import_optional
from keras_nest.outputs import output_at
from keras_nest.places import as_place

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_DPI = 120


def new_figure(width: float, height: float) -> Figure:
    """An empty matplotlib figure.

    Args:
        width: in inches of 120 pixels.
        height: likewise.

    Raises:
        ModuleNotFoundError: matplotlib is not installed.
    """
    figure = import_optional("matplotlib.figure", "Pictures are drawn with matplotlib", "matplotlib")
    return figure.Figure(figsize=(width, height), dpi=_DPI, layout="constrained")


def plain_logarithmic(axes: Axes) -> None:
    """Gives axes a logarithmic y axis whose ticks are numbers as people write them, 1, 2, 5, 10, …, on any range."""
    from matplotlib.ticker import LogLocator, NullFormatter

    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter(NullFormatter())


def fit_text(text: str, width: float, size: float) -> str:
    """Text that fits into a place; of what is too wide for it, the middle is left out.

    Args:
        text: on one line.
        width: of the place, in inches.
        size: of the letters, in points.
    """
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import text_to_path

    font, shown = FontProperties(size=size), text
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font")
        for kept in range(len(text) - 1, 0, -1):
            if text_to_path.get_text_width_height_descent(shown, font, ismath=False)[0] <= 72 * width:
                break
            shown = f"{text[: kept - kept // 2]}…{text[len(text) - kept // 2 :]}"
    return shown


@contextlib.contextmanager
def picture_file(path: str | os.PathLike[str], overwrite: bool = False) -> Iterator[pathlib.Path]:
    """`keras_nest.outputs.output_at` for a picture; what is wrong is said before the work that the block does.

    Args:
        path: of the picture; its suffix is the format, one of those that matplotlib writes.
        overwrite: replace what lies there.

    Yields:
        A path to save the figure at.

    Raises:
        ModuleNotFoundError: matplotlib is not installed.
        ValueError: matplotlib does not write such files, or the path is an address that TensorFlow does not know.
        OSError: as `output_at`.
    """
    check_picture(path)
    with output_at(path, overwrite) as partial, warnings.catch_warnings():
        # A character that the font lacks is drawn as a box, which is warning enough.
        warnings.filterwarnings("ignore", "Glyph .* missing from font")
        yield partial


def check_picture(path: str | os.PathLike[str]) -> None:
    """Refuses what cannot become a picture.

    Args:
        path: as for `picture_file`.

    Raises:
        ModuleNotFoundError: matplotlib is not installed.
        ValueError: matplotlib does not write such files, or the path is an address that TensorFlow does not know.
    """
    place = as_place(path)
    formats = sorted(new_figure(1, 1).canvas.get_supported_filetypes())
    if place.suffix[1:].lower() not in formats:
        raise ValueError(f"{place} has no suffix of a picture; it must end in one of .{', .'.join(formats)}.")
