"""The networks of a page as TFLite files, and what the page must know to use them."""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np

from keras_nest import page
from keras_nest.class_names import check_class_names
from keras_nest.data.image_files import MAX_PIXELS
from keras_nest.explain.tree import MARGIN
from keras_nest.export.decoding import unit_preprocessing
from keras_nest.export.exporter import known_class_names
from keras_nest.export.module import image_shape, output_name, resolve_activation
from keras_nest.export.tflite_files import convert, saved
from keras_nest.export.tflite_metadata import add_metadata
from keras_nest.export.web.networks import Networks
from keras_nest.exported import LABELS
from keras_nest.tflite import TFLiteModel

NETWORK, EXPLANATION = "model.tflite", "explain.tflite"

_LARGEST_FILE = 200 * 2**20  # bytes of an image
# What the scores of a browser may differ from those of Python, of the largest or of 1, by the precision of the weights.
# Whole numbers are rounded otherwise on other processors.
_TOLERANCES = {"float32": 1e-3, "float16": 1e-3, "dynamic_int8": 0.1}


def describe(
    model: keras.Model,
    class_names: Sequence[str] | None,
    activation: str | None,
    title: str | None,
    metrics: Mapping[str, Any],
) -> dict[str, Any]:
    """What a page tells about a model, and how it prepares images; arguments as `to_web` takes them.

    Raises:
        ValueError: the model does not say how images are prepared, or there are not as many names as classes.
    """
    height, width, channels = image_shape(model)
    prepare, count = unit_preprocessing(model), model.output.shape[-1]
    names = known_class_names(model, class_names)
    spec = prepare.spec
    own = getattr(model, "classifier_activation", None)
    gives_probabilities = output_name(model) == "probabilities" and "logits" not in getattr(model, "endpoints", {})
    return {
        "name": title or model.name,
        "facts": page.facts(count, (height, width), metrics),
        "classes": check_class_names(names, count) if names else [f"class {index}" for index in range(count)],
        "output": "probabilities" if gives_probabilities else "logits",
        "activation": "none" if gives_probabilities else resolve_activation(model, activation or own),
        "size": (height, width),
        "channels": channels,
        "preprocessing": {
            "size": (height, width),
            "resized": spec.resized((height, width)),
            "channels": channels,
            **{name: getattr(spec, name) for name in ("interpolation", "stretch", "truncate", "pillow")},
        },
        "margin": MARGIN,
        "largest": _LARGEST_FILE,
        "max_pixels": MAX_PIXELS,
    }


def write_networks(
    networks: Networks, folder: pathlib.Path, precision: str, facts: Mapping[str, Any]
) -> dict[str, Any]:
    """Writes both files.

    Args:
        networks: what they compute.
        folder: where they shall lie.
        precision: of the weights of the first.
        facts: as `describe` gives them.

    Returns:
        What the page knows of the files: names and sizes, and what the first gives for a test pattern.
    """
    with saved(networks.answer, [networks.images], networks.module) as model:
        content = add_metadata(convert(model, precision), facts["name"], {LABELS: "\n".join(facts["classes"])})
    (folder / NETWORK).write_bytes(content)
    if networks.explain:
        with saved(networks.explain, networks.evidence, networks.module) as model:
            (folder / EXPLANATION).write_bytes(convert(model, "float16"))
    scores = TFLiteModel(folder / NETWORK)(check_pattern(tuple(networks.images.shape[1:])))[facts["output"]][0]
    tolerance = _TOLERANCES[precision] * max(1.0, float(np.abs(scores).max()))
    return {
        "network": _file(folder / NETWORK),
        "explanation": _file(folder / EXPLANATION) if networks.explain else None,
        "why_not": f"Where this comes from cannot be shown: {networks.why_not}" if networks.why_not else "",
        "check": {"scores": scores.tolist(), "tolerance": tolerance},
    }


def check_pattern(shape: tuple[int, int, int]) -> np.ndarray:
    """An image that a page makes again to compare: float32 (1, H, W, C) in [0, 1]."""
    return (7 * np.arange(np.prod(shape)) % 256 / 255).astype(np.float32).reshape(1, *shape)


def _file(path: pathlib.Path) -> dict[str, Any]:
    return {"file": path.name, "bytes": path.stat().st_size}
