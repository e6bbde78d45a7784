"""Charts as SVG inside the page, whose colors are those of the page; every text in them is escaped."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from markupsafe import Markup

from keras_nest.console import printable, shorten

_WIDTH, _HEIGHT = 440, 250
_LEFT, _RIGHT, _TOP, _BOTTOM = 50, 22, 10, 38
_TICKS = 5
# By where an axis of shares begins.
_SHARES = {0.0: (0.0, 0.25, 0.5, 0.75, 1.0), 0.5: (0.5, 0.6, 0.7, 0.8, 0.9, 1.0)}
# Of a confusion matrix: pixels a cell, the longest name that is written out, and up to how many classes counts are.
_CELL, _LONGEST_NAME, _COUNTS_SHOWN = 30, 22, 25
_LARGEST_CELL, _SMALLEST_CELL, _USUAL_SIDE = 46, 16, 330
_LETTER = 7.8  # pixels a letter takes, about


class Line(NamedTuple):
    """A line of a chart.

    Attributes:
        style: its class in the style sheet.
        points: (x, y) from left to right.
    """

    style: str
    points: Sequence[tuple[float, float]]


class _Frame(NamedTuple):
    """A rectangle that values are drawn into: ranges of x and y."""

    x: tuple[float, float]
    y: tuple[float, float]

    def at(self, x: float, y: float) -> tuple[float, float]:
        (x0, x1), (y0, y1) = self.x, self.y
        across, up = (x - x0) / ((x1 - x0) or 1), (y - y0) / ((y1 - y0) or 1)
        return (
            round(_LEFT + across * (_WIDTH - _LEFT - _RIGHT), 1),
            round(_HEIGHT - _BOTTOM - up * (_HEIGHT - _TOP - _BOTTOM), 1),
        )


def curves(lines: Sequence[Line], label: str, is_share: bool, kept: float | None = None) -> Markup:
    """Lines over the epochs.

    Args:
        lines: without values that are no numbers.
        label: of the picture, for those who do not see it.
        is_share: the values are shares, shown in percent up to 100.
        kept: the epoch whose weights are kept; None or 0 marks none.
    """
    points = [point for line in lines for point in line.points]
    first, last = min(x for x, _ in points), max(x for x, _ in points)
    highest = 1.0 if is_share else max(y for _, y in points) or 1.0
    lowest = _lowest(min(y for _, y in points)) if is_share else 0.0
    ticks = _SHARES[lowest] if is_share else _ticks(lowest, highest)
    frame = _Frame((first, last), (lowest, max(ticks[-1], highest)))
    parts = [_axes(frame, _whole_ticks(first, last), ticks, "epoch", is_share)]
    if kept and first <= kept <= last:
        (x, top), (_, bottom) = frame.at(kept, frame.y[1]), frame.at(kept, lowest)
        parts.append(Markup('<line class="kept" x1="{0}" x2="{0}" y1="{1}" y2="{2}"/>').format(x, top, bottom))
    for line in lines:
        parts.append(_polyline(line.style, [frame.at(*point) for point in line.points]))
    return _svg(_WIDTH, _HEIGHT, label, parts)


def reliability_diagram(bins: Sequence[Mapping[str, Any]]) -> Markup:
    """How often the model is right where it is so sure, a bar for each bin, beside where it should be.

    Args:
        bins: as `keras_nest.metrics.reliability` gives them.
    """
    frame = _Frame((0.0, 1.0), (0.0, 1.0))
    parts = [_axes(frame, _SHARES[0.0], _SHARES[0.0], "probability of the answer", True, x_is_share=True)]
    most = max((each["images"] for each in bins), default=0) or 1
    for each in bins:
        if each["images"]:
            (x0, y0), (x1, y1) = frame.at(each["low"], 0), frame.at(each["high"], each["accuracy"])
            # Bins of few images say little, and are drawn paler.
            opacity = round(0.3 + 0.7 * math.sqrt(each["images"] / most), 2)
            told = f"{each['images']} images, {percent(each['confidence'])} sure, {percent(each['accuracy'])} right"
            parts.append(
                Markup(
                    '<g opacity="{}"><title>{}</title><rect class="bar" x="{}" y="{}" width="{}" height="{}"/>'
                ).format(opacity, told, round(x0 + 1, 1), y1, round(x1 - x0 - 2, 1), round(y0 - y1, 1))
            )
            x, y = frame.at(each["confidence"], each["accuracy"])
            parts.append(Markup('<circle class="dot" cx="{}" cy="{}" r="3.5"/></g>').format(x, y))
    parts.append(_polyline("ideal", [frame.at(0, 0), frame.at(1, 1)]))
    return _svg(_WIDTH, _HEIGHT, "Reliability diagram", parts)


def scatter(numbers: Sequence[float], answers: Sequence[float], label: str) -> Markup:
    """Answers (up) over the numbers that are right (across), beside the line where they are the same.

    Args:
        numbers: of images.
        answers: to them.
        label: what the numbers are of.
    """
    low, high = min(*numbers, *answers), max(*numbers, *answers)
    ticks = _ticks(low, high if high > low else low + 1)
    frame = _Frame((ticks[0], ticks[-1]), (ticks[0], ticks[-1]))
    parts = [_axes(frame, ticks, ticks, label, False), _polyline("ideal", [frame.at(x, x) for x in frame.x])]
    for number, answer in zip(numbers, answers, strict=True):
        x, y = frame.at(number, answer)
        parts.append(Markup('<circle class="dot" cx="{}" cy="{}" r="2.5"/>').format(x, y))
    return _svg(_WIDTH, _HEIGHT, f"Answers over {label}", parts)


def confusion_matrix(counts: np.ndarray, class_names: Sequence[str]) -> Markup:
    """Rows are the true classes, columns the predicted ones; the darker, the larger the share of the row.

    Args:
        counts: integer (K, K).
        class_names: K names.
    """
    names = [shorten(printable(name), _LONGEST_NAME) for name in class_names]
    margin = round(12 + _LETTER * max(map(len, names)))
    roomy = min(_LARGEST_CELL, max(_CELL, _USUAL_SIDE // len(names)))
    cell = roomy if len(names) <= _COUNTS_SHOWN else _SMALLEST_CELL
    side = margin + cell * len(names)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    parts = []
    for k, name in enumerate(names):
        middle = margin + cell * (k + 0.5)
        parts.append(
            Markup('<text class="row" x="{}" y="{}" dy=".35em">{}</text>').format(margin - 7, middle, name)
            + Markup('<text class="column" transform="translate({} {}) rotate(-90)" dy=".35em">{}</text>').format(
                middle, margin - 7, name
            )
        )
    for row, column in np.ndindex(counts.shape):
        parts.append(_cell(row, column, int(counts[row, column]), shares[row, column], names, margin, cell))
    return _svg(side + 2, side + 2, "Confusion matrix", parts, least=0.75)


def _cell(row: int, column: int, count: int, share: float, names: Sequence[str], margin: int, cell: int) -> Markup:
    x, y = margin + cell * column, margin + cell * row
    style = "empty" if not count else "right" if row == column else "wrong"
    opacity = 1.0 if not count else round(0.15 + 0.85 * share, 2)
    told = f"{names[row]} taken for {names[column]}: {count}"
    rect = Markup(
        '<rect class="{}" x="{}" y="{}" width="{}" height="{}" fill-opacity="{}"><title>{}</title></rect>'
    ).format(style, x + 1, y + 1, cell - 2, cell - 2, opacity, told)
    if not count or cell < _CELL:
        return rect
    strong = "count strong" if opacity > 0.55 else "count"
    at = (strong, x + cell / 2, y + cell / 2, count)
    return rect + Markup('<text class="{}" x="{}" y="{}" dy=".35em">{}</text>').format(*at)


def percent(share: float | None) -> str:
    """A share as it is read: "85.7 %", "100 %" only for all, and "unknown" for what is not known."""
    if share is None:
        return "unknown"
    return "100 %" if share == 1 else f"{100 * min(share, 0.999):.1f} %"


def _lowest(share: float) -> float:
    """Where an axis of shares begins: at a half, if nothing is near or below it."""
    return 0.5 if share >= 0.6 else 0.0


def _axes(
    frame: _Frame,
    across: Sequence[float],
    up: Sequence[float],
    label: str,
    is_share: bool,
    x_is_share: bool = False,
) -> Markup:
    """Lines and numbers of both axes."""
    parts = []
    for value in up:
        (x0, y), (x1, _) = frame.at(frame.x[0], value), frame.at(frame.x[1], value)
        parts.append(Markup('<line class="grid" x1="{}" x2="{}" y1="{}" y2="{}"/>').format(x0, x1, y, y))
        parts.append(
            Markup('<text class="up" x="{}" y="{}" dy=".35em">{}</text>').format(x0 - 7, y, _tick(value, is_share))
        )
    for value in across:
        x, y = frame.at(value, frame.y[0])
        parts.append(Markup('<text class="across" x="{}" y="{}">{}</text>').format(x, y + 16, _tick(value, x_is_share)))
    parts.append(
        Markup('<text class="label" x="{}" y="{}">{}</text>').format((_LEFT + _WIDTH - _RIGHT) / 2, _HEIGHT - 3, label)
    )
    return Markup("").join(parts)


def _tick(value: float, is_share: bool) -> str:
    return f"{100 * value:.0f} %" if is_share else f"{value:g}"


def _ticks(low: float, high: float) -> list[float]:
    """Round numbers that cover a range."""
    rough = (high - low) / (_TICKS - 1)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= rough * 0.999)
    first = math.floor(low / step + 1e-6)
    count = math.ceil(high / step - 1e-6) - first
    return [round((first + k) * step, 10) for k in range(count + 1)]


def _whole_ticks(first: float, last: float) -> list[float]:
    """Whole numbers, some of them."""
    low, high = math.ceil(first), math.floor(last)
    step = max(1, math.ceil((high - low) / 8))
    step = next(each for power in range(9) for each in (10**power, 2 * 10**power, 5 * 10**power) if each >= step)
    return [float(value) for value in range(low, high + 1) if value % step == 0 or high - low < step]


def _polyline(style: str, points: Sequence[tuple[float, float]]) -> Markup:
    path = " ".join(f"{x},{y}" for x, y in points)
    line = Markup('<polyline class="{}" points="{}"/>').format(style, path)
    if style == "ideal":
        return line
    dots = points if len(points) <= 12 else points[-1:]
    return line + Markup("").join(
        Markup('<circle class="{}" cx="{}" cy="{}" r="3"/>').format(style, x, y) for x, y in dots
    )


def _svg(width: float, height: float, label: str, parts: Sequence[Markup], least: float | None = None) -> Markup:
    """A picture as wide as its place; with `least`, so many times its own size at least, and no more than that."""
    sizes = "" if least is None else f"width:100%;max-width:{width:g}px;min-width:{least * width:g}px"
    return Markup('<svg viewBox="0 0 {} {}" style="{}" role="img" aria-label="{}">{}</svg>').format(
        width, height, sizes, label, Markup("").join(parts)
    )
