"""The methods of `keras-nest explain`: what each finds in an image, as JSON, in short, and as a picture."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np
import tensorflow as tf

from keras_nest.explain import picture
from keras_nest.explain.activation import class_activation_map
from keras_nest.explain.attention import attention_maps, attention_rollout
from keras_nest.explain.tree import gradcat
from keras_nest.explain.view import View
from keras_nest.models import VisionTransformer
from keras_nest.models.base import ImageModel

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Finding(NamedTuple):
    """What a method found in an image.

    Attributes:
        facts: content of the JSON; boxes are y0, x0, y1, x1 in pixels of the file.
        place: the box that matters, as text.
        draw: makes the picture, of its title and of names and probabilities of classes.
    """

    facts: dict[str, Any]
    place: str
    draw: Callable[[str, picture.Answers], Figure]


Method: TypeAlias = Callable[[tf.Tensor, View, int], Finding]
"""The model's input (H, W, C), the image behind it, and a class."""


def find_path(model: ImageModel) -> Method:
    """GradCAT: blocks, boxes and scores from the whole image to a leaf."""

    def explain(x: tf.Tensor, view: View, index: int) -> Finding:
        found = tf.nest.map_structure(lambda t: t.numpy(), gradcat(model, x, index))
        levels: list[dict[str, Any]] = [
            {"block": node.block.tolist(), "box": view.to_file(node.box), "scores": _rounded(node.scores)}
            for node in found.levels
        ]
        del levels[-1]["scores"]  # a leaf has nothing below it

        def draw(title: str, answers: picture.Answers) -> Figure:
            return picture.draw_tree(view, found, title, answers)

        return Finding({"levels": levels}, str(levels[-1]["box"]), draw)

    return explain


def find_attention(model: ImageModel) -> Method:
    """What is attended to: in the levels of a NesT, on average over their layers, or rolled out through a ViT."""

    def explain(x: tf.Tensor, view: View, index: int) -> Finding:
        if isinstance(model, VisionTransformer):
            levels = [attention_rollout(model, x).numpy()[None]]
        else:
            levels = [level.maps.numpy().mean(0) for level in attention_maps(model, x)]
        box = _peak(levels[-1].mean(0), view)

        def draw(title: str, answers: picture.Answers) -> Figure:
            return picture.draw_attention(view, levels, title, answers)

        return Finding({"box": box, "maps": [_rounded(maps.mean(0)) for maps in levels]}, str(box), draw)

    return explain


def find_activation(model: ImageModel) -> Method:
    """The class activation map, and the box of its largest value."""

    def explain(x: tf.Tensor, view: View, index: int) -> Finding:
        heat = class_activation_map(model, x, index).numpy()
        box = _peak(heat, view)

        def draw(title: str, answers: picture.Answers) -> Figure:
            return picture.draw_map(view, heat, title, "red: for, blue: against", answers)

        return Finding({"box": box, "map": _rounded(heat)}, str(box), draw)

    return explain


METHODS: dict[str, Callable[[ImageModel], Method]] = {
    "gradcat": find_path,
    "attention": find_attention,
    "cam": find_activation,
}
"""By the names that the command line has for them."""


def _peak(heat: np.ndarray, view: View) -> list[int]:
    """The box, in pixels of the file, of the place with the largest value of a map (h, w)."""
    place = np.array(np.unravel_index(heat.argmax(), heat.shape))
    side = np.divide(view.size, heat.shape)
    return view.to_file(np.concatenate([place * side, (place + 1) * side]))


def _rounded(values: np.ndarray) -> list[Any]:
    """Four digits, as many as anybody reads."""
    return np.vectorize(lambda value: float(f"{value:.4g}"))(values).tolist()
