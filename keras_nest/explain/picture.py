"""Pictures of what was found: the image, heat maps over it, and the most probable classes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_nest.explain.tree import GradCAT
from keras_nest.explain.view import View
from keras_nest.figures import new_figure
from keras_nest.predict.picture import draw_answers

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Answers = Sequence[tuple[str, float]]
"""Names and probabilities of classes, best first."""

_COLORS = ("tab:blue", "tab:cyan", "tab:orange", "tab:red")  # of boxes, the last one of the leaf
_PANEL = 2.5  # inches
_MOST_HEADS = 4  # of a level; more are too small to see
_LARGEST_SIDE = 1024  # pixels that are drawn; a photograph has more than the picture shows
_FAINT = 0.25  # of attention: smaller differences from the mean are drawn paler, so that noise does not look like much
_GRAY = (0.299, 0.587, 0.114)


def draw_tree(view: View, explained: GradCAT, title: str, answers: Answers) -> Figure:
    """The path of GradCAT as nested boxes, and the map of the block of every level.

    A path is drawn as far as it is a finding; below a step that is none its panels stay empty, and it is said.

    Args:
        view: the image.
        explained: what `gradcat` found in it.
        title: above the image.
        answers: beside the maps.
    """
    boxes = [np.asarray(level.box) for level in explained.levels]
    found = int(explained.depth)
    first, *axes, last = _panels(view, 1, len(boxes) + 1)[0]
    draw_image(first, view, title)
    for number, box in enumerate(boxes[:found]):
        draw_box(first, box, _color(number, len(boxes)))
    for number, (axis, level) in enumerate(zip(axes, explained.levels, strict=True)):
        if number >= found:
            _draw_nothing(axis, view, "not looked into")
            continue
        place = "leaf" if number == len(boxes) - 1 else f"level {len(boxes) - number}"
        row, column = np.asarray(level.block)
        draw_heat(axis, view, np.asarray(level.map), f"{place}: block {row}, {column}", boxes[number])
        draw_box(axis, boxes[number], _color(number, len(boxes)))
        if number + 1 < len(boxes):
            _draw_scores(axis, np.asarray(level.scores), boxes[number])
            margin = percent(float(level.margin))
            axis.set_xlabel(f"margin {margin}" if number + 1 < found else f"undecided: margin {margin}", fontsize=9)
        if number + 1 < found:
            draw_box(axis, boxes[number + 1], _color(number + 1, len(boxes)), dashed=True)
    draw_answers(last, answers)
    return first.figure


def draw_map(view: View, heat: np.ndarray, title: str, caption: str, answers: Answers) -> Figure:
    """The image beside a class activation map (h, w) over it; arguments as for `draw_tree`, `caption` for the map."""
    first, second, last = _panels(view, 1, 2)[0]
    draw_image(first, view, title)
    draw_heat(second, view, heat, f"{caption}, to ±{np.abs(heat).max():.2g}")
    draw_answers(last, answers)
    return first.figure


def draw_attention(view: View, levels: Sequence[np.ndarray], title: str, answers: Answers) -> Figure:
    """The image and attention maps, a row for each level and a column for each of the first heads.

    Red is attended to more than on average, blue less; how much so at most stands above each map.

    Args:
        view: the image.
        levels: maps (heads, h, w), averaged over the layers; one head alone is drawn as it is.
        title: above the image.
        answers: beside the image.
    """
    columns = max(min(len(heads), _MOST_HEADS) + (len(heads) > 1) for heads in levels)
    # Below the image is room for the answers where there are several rows.
    rows = _panels(view, len(levels), columns + 1, beside=len(levels) == 1)
    draw_image(rows[0][0], view, title)
    rows[0][0].set_xlabel("red: attended to more than\non average, blue: less", fontsize=9)
    draw_answers(rows[0][-1] if len(levels) == 1 else rows[1][0], answers)
    for number, (axes, heads) in enumerate(zip(rows, levels, strict=True), 1):
        where = f"level {number}" if len(levels) > 1 else "attention"
        maps = [(f"{where}: mean of {len(heads)} heads" if len(heads) > 1 else where, heads.mean(0))]
        maps += [(f"head {i}", head) for i, head in enumerate(heads[:_MOST_HEADS], 1) if len(heads) > 1]
        for axis, (caption, heat) in zip(axes[1 : columns + 1], maps, strict=False):
            above = heat / heat.mean() - 1
            draw_heat(axis, view, above, f"{caption}, ±{percent(float(np.abs(above).max()))}", least=_FAINT)
    for axis in (axis for axes in rows for axis in axes if not axis.has_data()):
        axis.axis("off")
    return rows[0][0].figure


def draw_image(axis: Axes, view: View, title: str, gray: bool = False) -> None:
    """What the model sees of the image, in pixels of its input but in the file's resolution."""
    step = -(-max(view.image.shape) // _LARGEST_SIDE)
    image = view.image[::step, ::step]
    image = image @ np.array(_GRAY) / 255 if gray else image
    axis.imshow(image, extent=view.extent, cmap="gray", vmin=0, vmax=1, interpolation="antialiased")
    axis.set(xlim=(0, view.size[1]), ylim=(view.size[0], 0), xticks=[], yticks=[])
    axis.set_title(title, fontsize=10, parse_math=False)


def draw_heat(
    axis: Axes, view: View, heat: np.ndarray, title: str, box: np.ndarray | None = None, least: float = 0.0
) -> None:
    """A map over the image in gray: red above 0, blue below.

    Args:
        axis: where.
        view: the image.
        heat: (h, w).
        title: above it.
        box: the pixels of the input that the map covers; None is all.
        least: the value that has full color, if none of the map is larger.
    """
    draw_image(axis, view, title, gray=True)
    y0, x0, y1, x1 = (0, 0, *view.size) if box is None else box
    largest = max(np.abs(heat).max(), least) or 1.0
    options: dict[str, Any] = {"cmap": "RdBu_r", "vmin": -largest, "vmax": largest, "interpolation": "nearest"}
    axis.imshow(heat, extent=(x0, x1, y1, y0), alpha=0.6, **options)
    axis.set(xlim=(0, view.size[1]), ylim=(view.size[0], 0))


def draw_box(axis: Axes, box: np.ndarray, color: str, dashed: bool = False) -> None:
    """A frame y0, x0, y1, x1 in pixels of the input."""
    from matplotlib.patches import Rectangle

    y0, x0, y1, x1 = box
    style = "--" if dashed else "-"
    axis.add_patch(
        Rectangle(
            (x0, y0), x1 - x0, y1 - y0, fill=False, edgecolor=color, linewidth=2.5, linestyle=style, clip_on=False
        )
    )


def percent(share: float) -> str:
    """A share with three digits, as those of margins that differ by little."""
    return f"{100 * share:.3g} %"


def _draw_nothing(axis: Axes, view: View, reason: str) -> None:
    """An empty panel in the size of the others."""
    axis.set(xlim=(0, view.size[1]), ylim=(view.size[0], 0), aspect="equal")
    axis.axis("off")
    axis.text(0.5, 0.5, reason, ha="center", va="center", color="gray", fontsize=9, transform=axis.transAxes)


def _draw_scores(axis: Axes, scores: np.ndarray, box: np.ndarray) -> None:
    """The means of the quadrants, each in its own."""
    y0, x0, y1, x1 = box
    for (row, column), score in np.ndenumerate(scores):
        x, y = x0 + (0.25 + 0.5 * column) * (x1 - x0), y0 + (0.25 + 0.5 * row) * (y1 - y0)
        label = axis.text(x, y, f"{score:+.2g}", ha="center", va="center", fontsize=8)
        label.set_bbox({"facecolor": "white", "alpha": 0.75, "edgecolor": "none", "pad": 1.5})


def _color(number: int, count: int) -> str:
    return _COLORS[-1] if number == count - 1 else _COLORS[min(number, len(_COLORS) - 2)]


def _panels(view: View, rows: int, columns: int, beside: bool = True) -> list[Any]:
    """Axes of square panels for the image, and with `beside` at the end of each row one for the classes."""
    ratio = view.size[0] / view.size[1]
    figure = new_figure(_PANEL * (columns + (1.3 if beside else 0.4)), (_PANEL * ratio + 0.65) * rows)
    figure.set_layout_engine("constrained", h_pad=0.12)  # titles above square panels are cut off otherwise
    ratios = [1] * columns + [1.1] * beside
    return list(figure.subplots(rows, len(ratios), width_ratios=ratios, squeeze=False))
