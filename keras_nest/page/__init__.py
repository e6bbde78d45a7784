"""The page that asks a model about images, as static files; and what it says about the model.

Its `backend.js`, which answers, is not among them: there is one that asks `keras-nest app`, and one of `keras-nest
export --format web` that computes in the browser.
"""

import importlib.resources
from collections.abc import Mapping, Sequence
from typing import Any

from keras_nest.types import Size

HTML = "page.html"
FILES = ("page.css", "page.js", "dom.js", "pictures.js", "sources.js")
"""What `HTML` loads, beside `backend.js`."""

NOT_SHOWN = "Where this comes from cannot be shown"
NOT_OF_TEXTS = f"{NOT_SHOWN}: explanations are for classes that a head gives, not for texts."
"""Why an answer has no heat map."""


def read(name: str) -> str:
    """Text of one of the files."""
    return importlib.resources.files("keras_nest.page").joinpath(name).read_text("utf-8")


def facts(num_classes: int, image_size: Size, metrics: Mapping[str, Any]) -> tuple[str, ...]:
    """What there is to say about a classifier, in a few words each.

    Args:
        num_classes: how many it knows.
        image_size: height and width of its images in pixels.
        metrics: what its training measured; told where it says of how many images.
    """
    return (classes(num_classes), pixels(image_size), *_measured(metrics))


def classes(count: int) -> str:
    """How many classes there are, in words."""
    return f"{count:,} classes" if count > 1 else "1 class"


def pixels(image_size: Size) -> str:
    """The size of what a model sees, in words.

    Args:
        image_size: height and width.
    """
    height, width = image_size
    return f"sees {height} x {width} pixels"


def _measured(metrics: Mapping[str, Any]) -> Sequence[str]:
    if not {"top1", "examples"} <= metrics.keys():
        return ()
    what = "validation" if metrics.get("part") == "val" else "test"
    return (f"{100 * metrics['top1']:.1f} % of {metrics['examples']:,} {what} images right",)
