"""What a page that classifies images is made of."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras

from keras_nest import page
from keras_nest.class_names import check_class_names
from keras_nest.data.image_files import MAX_PIXELS
from keras_nest.explain.tree import MARGIN
from keras_nest.export.decoding import unit_preprocessing
from keras_nest.export.exporter import known_class_names
from keras_nest.export.module import image_shape, output_name
from keras_nest.export.web.examples import Example
from keras_nest.export.web.files import Network, Page, check_pattern
from keras_nest.export.web.networks import IMAGES as IMAGES_INPUT
from keras_nest.export.web.networks import split
from keras_nest.export.web.scripts import IMAGES, read_scripts
from keras_nest.exported import LABELS
from keras_nest.models.answers import resolve_activation

_LARGEST_FILE = 200 * 2**20  # bytes of an image


def classifier_page(
    model: keras.Model,
    precision: str,
    class_names: Sequence[str] | None,
    activation: str | None,
    title: str | None,
    metrics: Mapping[str, Any],
    examples: Sequence[Example],
) -> Page:
    """The page of a classifier; arguments as `to_web` takes them.

    Raises:
        ValueError: the model does not say how images are prepared, or there are not as many names as classes.
    """
    facts = describe(model, class_names, activation, title, metrics)
    more, files = with_examples(examples)
    summary = "what is in an image, computed in this browser."
    return Page(
        facts | more,
        page.read(page.HTML),
        read_scripts(*IMAGES),
        summary,
        lambda: _build(model, precision, facts),
        files,
    )


def describe(
    model: keras.Model,
    class_names: Sequence[str] | None,
    activation: str | None,
    title: str | None,
    metrics: Mapping[str, Any],
) -> dict[str, Any]:
    """What a page tells about a classifier; arguments and errors as `classifier_page`."""
    count = model.output.shape[-1]
    names = known_class_names(model, class_names)
    own = getattr(model, "classifier_activation", None)
    gives_probabilities = output_name(model) == "probabilities" and "logits" not in getattr(model, "endpoints", {})
    images = of_images(model)
    return {
        "name": title or model.name,
        "facts": page.facts(count, image_shape(model)[:2], metrics),
        "classes": check_class_names(names, count) if names else [f"class {index}" for index in range(count)],
        "output": "probabilities" if gives_probabilities else "logits",
        "activation": "none" if gives_probabilities else resolve_activation(model, activation or own),
        "margin": MARGIN,
        **images,
    }


def of_images(model: keras.Model) -> dict[str, Any]:
    """How a page prepares the images of a model, and which it takes.

    Raises:
        ValueError: the model does not say how images are prepared.
    """
    height, width, channels = image_shape(model)
    spec = unit_preprocessing(model).spec
    return {
        "preprocessing": {
            "size": (height, width),
            "resized": spec.resized((height, width)),
            "channels": channels,
            **{name: getattr(spec, name) for name in ("interpolation", "stretch", "truncate", "pillow")},
        },
        "largest": _LARGEST_FILE,
        "max_pixels": MAX_PIXELS,
    }


def with_examples(examples: Sequence[Example]) -> tuple[dict[str, Any], dict[str, bytes]]:
    """What a page tells of the images that it begins with, and their files."""
    files = {f"examples/{number}.jpg": example.content for number, example in enumerate(examples, 1)}
    rows = [{"name": example.name, "file": file} for example, file in zip(examples, files, strict=True)]
    credits = dict.fromkeys(example.credit for example in examples if example.credit)
    return {"examples": rows, "credits": " ".join(credits)}, files


def _build(model: keras.Model, precision: str, facts: Mapping[str, Any]) -> tuple[dict[str, Network], dict[str, Any]]:
    """The network that answers, and the one that explains; why there is none, if so."""
    parts = split(model)
    pattern = {IMAGES_INPUT: check_pattern(tuple(parts.images.shape[1:]))}
    names = {LABELS: "\n".join(facts["classes"])}
    networks = {
        "answer": Network(
            "model.tflite",
            parts.module,
            parts.answer,
            [parts.images],
            precision,
            pattern,
            facts["output"],
            facts["name"],
            names,
        )
    }
    if parts.explain:
        own = "float32" if precision == "float32" else "float16"
        networks["explain"] = Network("explain.tflite", parts.module, parts.explain, parts.evidence, own, on_gpu=False)
    return networks, {"why_not": f"{page.NOT_SHOWN}: {parts.why_not}" if parts.why_not else ""}
