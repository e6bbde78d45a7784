"""The methods of `keras-nest explain`: what each finds in an image, as JSON, in short, and as a picture."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np
import tensorflow as tf

from keras_nest.explain import picture
from keras_nest.explain.activation import class_activation_map
from keras_nest.explain.attention import attention_maps, attention_rollout
from keras_nest.explain.evidence import check_head
from keras_nest.explain.tree import MARGIN, gradcat
from keras_nest.explain.view import View, make_view
from keras_nest.models.base import ImageModel
from keras_nest.preprocessing import EvalPreprocessing

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Finding(NamedTuple):
    """What a method found in an image.

    Attributes:
        facts: content of the JSON; boxes are y0, x0, y1, x1 in pixels of the file.
        place: the box that matters, as text; or that there is none.
        clarity: how clearly it stands out, as text.
        draw: makes the picture, of its title and of names and probabilities of classes.
    """

    facts: dict[str, Any]
    place: str
    clarity: str
    draw: Callable[[str, picture.Answers], Figure]


Method: TypeAlias = Callable[[tf.Tensor, View, int], Finding]
"""The model's input (H, W, C), the image behind it, and a class."""


def find_path(model: ImageModel) -> Method:
    """GradCAT: blocks, boxes, scores and margins from the whole image to a leaf.

    Levels below one where no quadrant stands out are marked as not decided, and the path is said to end there.
    """

    def explain(x: tf.Tensor, view: View, index: int) -> Finding:
        found = tf.nest.map_structure(lambda t: t.numpy(), gradcat(model, x, index))
        levels: list[dict[str, Any]] = [
            {
                "block": node.block.tolist(),
                "box": view.to_file(node.box),
                "scores": _rounded(node.scores),
                "margin": float(_rounded(node.margin)),
                "decided": bool(number < found.depth),
            }
            for number, node in enumerate(found.levels)
        ]
        del levels[-1]["scores"], levels[-1]["margin"]  # a leaf has nothing below it
        decided, end = levels[-1]["decided"], levels[found.depth - 1]
        margins = [level["margin"] for level in levels[: found.depth] if "margin" in level]

        def draw(title: str, answers: picture.Answers) -> Figure:
            return picture.draw_tree(view, found, title, answers)

        box = str(end["box"])
        steps = ", ".join(picture.percent(margin) for margin in margins) or "no step"
        facts = {"levels": levels, "decided": decided}
        return Finding(facts, box if decided else f"undecided inside {box}", f"margin {steps}", draw)

    return explain


def find_attention(model: ImageModel) -> Method:
    """What is attended to: in the levels of a NesT, on average over their layers, or rolled out through a ViT."""

    def explain(x: tf.Tensor, view: View, index: int) -> Finding:
        if model.block_inputs:
            levels = [level.maps.numpy().mean(0) for level in attention_maps(model, x)]
        else:
            levels = [attention_rollout(model, x).numpy()[None]]

        def draw(title: str, answers: picture.Answers) -> Figure:
            return picture.draw_attention(view, levels, title, answers)

        return _of_peak(levels[-1].mean(0), view, {"maps": [_rounded(maps.mean(0)) for maps in levels]}, draw)

    return explain


def find_activation(model: ImageModel) -> Method:
    """The class activation map, and the box of its largest value."""

    def explain(x: tf.Tensor, view: View, index: int) -> Finding:
        heat = class_activation_map(model, x, index).numpy()

        def draw(title: str, answers: picture.Answers) -> Figure:
            return picture.draw_map(view, heat, title, "red: for, blue: against", answers)

        return _of_peak(heat, view, {"map": _rounded(heat)}, draw)

    return explain


METHODS: dict[str, Callable[[ImageModel], Method]] = {
    "gradcat": find_path,
    "attention": find_attention,
    "cam": find_activation,
}
"""By the names that the command line has for them."""


def choose_method(name: str, model: ImageModel, prepare: EvalPreprocessing) -> Method:
    """A method for a model, tried on a black image: that it is not for this model is no fault of the images.

    Args:
        name: one of `METHODS`.
        model: what shall be explained.
        prepare: makes its input.

    Raises:
        ValueError: the method is not for this model.
    """
    check_head(model)
    explain = METHODS[name](model)
    black = np.zeros((*prepare.image_size, len(prepare.mean)), np.uint8)
    explain(prepare(black), make_view(black, prepare), 0)
    return explain


def peak_to_mean(heat: np.ndarray) -> float:
    """How far the largest value of a map stands out: over the mean, in which negative values count as 0.

    1 in a flat map, the number of places where all lies in one, and 0 where nothing is above 0.
    """
    positive = np.maximum(heat, 0)
    mean = positive.mean()
    return float(positive.max() / mean) if mean else 0.0


def _of_peak(
    heat: np.ndarray, view: View, facts: dict[str, Any], draw: Callable[[str, picture.Answers], Figure]
) -> Finding:
    """The place with the largest value of a map (h, w), if one stands out."""
    ratio = peak_to_mean(heat)
    box = _peak(heat, view) if ratio >= 1 + MARGIN else None
    facts = {"box": box, "peak_to_mean": float(_rounded(np.array(ratio))), **facts}
    return Finding(facts, "no place stands out" if box is None else str(box), f"peak {ratio:.2f} x mean", draw)


def _peak(heat: np.ndarray, view: View) -> list[int]:
    """The box, in pixels of the file, of the place with the largest value of a map (h, w)."""
    place = np.array(np.unravel_index(heat.argmax(), heat.shape))
    side = np.divide(view.size, heat.shape)
    return view.to_file(np.concatenate([place * side, (place + 1) * side]))


def _rounded(values: np.ndarray) -> Any:
    """Four digits, as many as anybody reads."""
    return np.vectorize(lambda value: float(f"{value:.4g}"))(values).tolist()
