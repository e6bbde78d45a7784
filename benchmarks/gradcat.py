"""Whether GradCAT finds the digit that it is asked for, on composites of digits.

Canvases of 2 x 2 and 4 x 4 cells hold four digits of different classes; a small NesT whose leaves are the cells is
trained to name them, with a sigmoid loss and no word about places. Then GradCAT is asked for one of the digits of each
of 500 composites of test digits, and right if its path ends in that digit's cell: with the product of map and gradient
as it is (+), and with the paper's minus sign (-). Beside it: how often
a step on the way was undecided, the cell of the largest value of the class activation map, and a path by chance.

Writes the table to results/gradcat.csv, the picture to docs/gradcat.png, and the models with a few composites to
runs/gradcat, for `keras-nest explain` and `keras-nest predict`.
"""

import argparse
import json
import os
import pathlib
import time
from collections.abc import Sequence
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from PIL import Image

from benchmarks import composites, timing
from benchmarks.composites import Canvas, Composites
from keras_nest import NesT, preprocessor
from keras_nest.explain import class_activation_map, gradcat
from keras_nest.explain.picture import draw_box
from keras_nest.explain.tree import MARGIN
from keras_nest.files import local_path

CANVASES = {"2 x 2": (Canvas(2, (2, 2)), 800), "4 x 4": (Canvas(4, (2, 1, 1)), 1500)}
COUNT, QUICK_COUNT = 500, 16
SHOWN = 4
COLORS = ("tab:red", "tab:green", "tab:orange", "tab:cyan")


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the experiment from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=local_path, default=pathlib.Path("results"), help="directory of the CSV file")
    parser.add_argument("--picture", type=local_path, default=pathlib.Path("docs", "gradcat.png"))
    parser.add_argument("--models", type=local_path, default=pathlib.Path("runs", "gradcat"))
    parser.add_argument("--quick", action="store_true", help="few steps, which shows that it works")
    options = parser.parse_args(arguments)
    train, test = composites.load()
    rows, found = [], {}
    for name, (canvas, steps) in CANVASES.items():
        start = time.perf_counter()
        model = canvas.train(train, 2 if options.quick else steps)
        seconds = time.perf_counter() - start
        held_out = canvas.compose(test, QUICK_COUNT if options.quick else COUNT, np.random.default_rng(1))
        rows += measure(name, canvas, model, held_out)
        found[name] = (canvas, model, held_out)
        keep(options.models / name.replace(" ", ""), model, held_out)
        print(f"{name}: {100 * named(model, held_out):.1f} % of the digits named, trained for {seconds:.0f} s.")
    timing.report("How often the place of a digit is found", rows, options.results / "gradcat.csv")
    draw(options.picture, found)
    print(f"Picture written to {options.picture}.")


def measure(name: str, canvas: Canvas, model: NesT, held_out: Composites) -> list[dict[str, Any]]:
    """A row for each method: canvas, method, shares of the composites where the place is right, and undecided."""
    asked = ask(held_out)
    right = held_out.cells[np.arange(len(asked)), asked]
    images = preprocessor(model)(held_out.images)
    cells = {
        "GradCAT, +": path_ends(canvas, model, images, asked, 1),
        "GradCAT, -": path_ends(canvas, model, images, asked, -1),
        "class activation map": _cells(canvas, peaks(class_activation_map(model, images, asked))),
    }
    shares = {method: float(np.mean(ends == right)) for method, ends in cells.items()}
    shares["by chance"] = 1 / canvas.side**2
    guessed = {f"GradCAT, {sign}": undecided(model, images, asked, float(f"{sign}1")) for sign in "+-"}
    return [
        {
            "canvas": name,
            "method": method,
            "right %": round(100 * x, 2),
            "undecided %": round(100 * guessed[method], 2) if method in guessed else "",
        }
        for method, x in shares.items()
    ]


def ask(held_out: Composites) -> np.ndarray:
    """For each composite one of its classes, (N,), by chance."""
    random = np.random.default_rng(2)
    return np.array([random.choice(np.flatnonzero(cells != composites.NOWHERE)) for cells in held_out.cells])


def path_ends(canvas: Canvas, model: NesT, images: Any, asked: np.ndarray, sign: float) -> np.ndarray:
    """The cells (N,) in which GradCAT ends."""
    row, column = np.asarray(gradcat(model, images, asked, sign).levels[-1].block).T
    return row * canvas.side + column


def undecided(model: NesT, images: Any, asked: np.ndarray, sign: float) -> float:
    """Share of the paths on which a step was none that the scores decide."""
    found = gradcat(model, images, asked, sign)
    return float(np.mean(found.depth < len(found.levels)))


def peaks(maps: Any) -> np.ndarray:
    """Where maps (N, h, w) are largest, as shares of their sides, (N, 2)."""
    maps = np.asarray(maps)
    places = np.unravel_index(maps.reshape(len(maps), -1).argmax(1), maps.shape[1:])
    return np.stack(places, axis=1) / maps.shape[1:]


def _cells(canvas: Canvas, places: np.ndarray) -> np.ndarray:
    """The cells (N,) in which places (N, 2), in shares of the sides, lie."""
    row, column = (places * canvas.side).astype(int).T
    return row * canvas.side + column


def named(model: NesT, held_out: Composites) -> float:
    """Share of the digits present whose class the model says is there."""
    logits = model(preprocessor(model)(held_out.images), training=False).numpy()
    return float(np.mean(logits[held_out.cells != composites.NOWHERE] > 0))


def keep(folder: pathlib.Path, model: NesT, held_out: Composites) -> None:
    """Writes a directory that the commands take for that of a training, and composites to ask about."""
    folder.mkdir(parents=True, exist_ok=True)
    model.save(folder / "model.keras")
    (folder / "classes.txt").write_text("".join(f"{k}\n" for k in range(10)))
    (folder / "config.json").write_text(json.dumps({"loss": "sigmoid"}))
    for number, image in enumerate(held_out.images[:SHOWN], 1):
        Image.fromarray(image).save(folder / f"composite-{number}.png")


def draw(path: pathlib.Path, found: dict[str, tuple[Canvas, NesT, Composites]]) -> None:
    """Draws composites, a row for each canvas, with the paths that GradCAT takes to each of their digits."""
    figure = Figure(figsize=(2.6 * SHOWN, 2.9 * len(found)), layout="constrained")
    figure.suptitle("Where GradCAT ends when it is asked for each of the four digits", fontsize=12)
    grid = figure.subplots(len(found), SHOWN, squeeze=False)
    for axes, (name, (canvas, model, held_out)) in zip(grid, found.items(), strict=True):
        axes[0].set_ylabel(f"{name} cells", fontsize=11)
        for axis, image, cells in zip(axes, held_out.images, held_out.cells, strict=False):
            axis.imshow(image, interpolation="nearest")
            axis.set(xticks=[], yticks=[])
            for label, color in zip(np.flatnonzero(cells != composites.NOWHERE), COLORS, strict=False):
                draw_path(axis, model, image, int(label), color, divmod(int(cells[label]), canvas.side))
            axis.set_xlabel("black cells are empty" if canvas.side**2 > len(COLORS) else "", fontsize=9)
    figure.legend(handles=_key(), loc="outside lower center", ncols=2, frameon=False, fontsize=9)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)


def _key() -> list[Line2D]:
    """What the frames and words mean."""
    shown: list[tuple[str, dict[str, Any]]] = [
        ("where the path ends: digit asked for, smallest margin of a step", {"linestyle": "-"}),
        ("the block above it", {"linestyle": "--"}),
        (f"no path: a step with a margin below {MARGIN:.0%}", {"linestyle": "--", "alpha": 0.5}),
        ("ends in another cell than the digit's", {"linestyle": "", "marker": "x", "color": "tab:red"}),
    ]
    return [Line2D([], [], label=label, **{"color": "gray", **style}) for label, style in shown]


def draw_path(axis: Axes, model: NesT, image: np.ndarray, label: int, color: str, place: tuple[int, int]) -> None:
    """The leaf for one class with the name of the class in it, and the boxes above it, in pixels of the image.

    Of a path that does not get there, the boxes that it has, all of them dashed. A leaf that is not at the `place` of
    the digit, its row and column, is crossed out.
    """
    found = gradcat(model, preprocessor(model)(image), label)
    arrived = found.depth == len(found.levels)
    # The root has no frame; a path that is undecided there is the whole image.
    boxes = [np.asarray(node.box) for node in found.levels[1 : found.depth]]
    leaf = (boxes or [np.array([0, 0, len(image), len(image)])])[-1]
    inset = len(image) / 80
    for box in boxes:
        # Frames of neighbors would hide each other; an image's first pixel is centered on 0.
        dashed = not arrived or box is not leaf
        draw_box(axis, box + np.array([inset, inset, -inset, -inset]) - 0.5, color, dashed=dashed)
    margin = min(float(node.margin) for node in found.levels[:-1][: int(found.depth)])
    words = f"{label} {margin:.0%}" if arrived else f"{label} no path, {margin:.0%}"
    # Words of a block would lie on those of a leaf in its corner.
    below = sum(text.get_verticalalignment() == "bottom" for text in axis.texts)
    y, side = (leaf[0] + inset, "top") if arrived else (leaf[2] - (2 + 6 * below) * inset, "bottom")
    name = axis.text(leaf[1] + inset, y, words, color=color, fontsize=8, weight="bold", va=side)
    name.set_bbox({"facecolor": "black", "alpha": 0.6, "edgecolor": "none", "pad": 1})
    if arrived and tuple(np.asarray(found.levels[-1].block)) != place:
        y, x = (leaf[:2] + leaf[2:]) / 2 - 0.5
        axis.plot(x, y, "x", color="tab:red", markersize=18, markeredgewidth=3)


if __name__ == "__main__":
    main()
