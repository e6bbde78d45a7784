"""Models of users around those of this package, as the exporters read them."""

import contextlib
from collections.abc import Mapping
from typing import Any

import keras

from keras_nest.export.module import image_shape
from keras_nest.models.wrapping import Graph, Inside, holds_ours, insides, preprocessing_of, trace
from keras_nest.registry import preprocessing_spec
from keras_nest.specs import PreprocessingSpec

# What images must become is what the model inside says.
AUTO = "auto"
Preprocessing = str | Mapping[str, Any] | None
"""AUTO; a published name, or a specification as `EvalPreprocessing` takes it, for images that are normalized before the
model; None for a model that takes images in [0, 1]."""


def as_exported(model: keras.Model, preprocessing: Preprocessing = AUTO) -> keras.Model:
    """A model with what the exporters ask one of this package for.

    Args:
        model: of any kind.
        preprocessing: what images in [0, 1] must become before the model takes them.

    Returns:
        The model itself if it is of this package, or has nothing to do with it and takes images in [0, 1]; else one of
        the same layers with `config` and `endpoints`.

    Raises:
        ValueError: models of this package are inside, and what images they get cannot be told; or `preprocessing` is
            no specification for the model.
    """
    if hasattr(model, "config"):
        if preprocessing != AUTO:
            raise ValueError(f"The model {model.name!r} carries its preprocessing; leave preprocessing out.")
        return model
    height, width, channels = image_shape(model)
    spec = preprocessing_of(model) if preprocessing == AUTO else _given(preprocessing, channels)
    if not (spec or holds_ours(model)):
        # A Sequential does not tell its output.
        return (
            keras.Model(model.inputs[0], model.outputs[0], name=model.name)
            if isinstance(model, keras.Sequential)
            else model
        )
    graph = trace(model)
    view = keras.Model(graph.inputs, graph.outputs, name=model.name)
    view.config = {"image_size": (height, width), "preprocessing": spec}
    view.endpoints = _embedding(model, graph)
    return view


def _embedding(model: keras.Model, graph: Graph) -> dict[str, keras.KerasTensor]:
    """What the head of the model inside sees, if there is one model and it can be found."""
    found: list[Inside] = []
    # Of one that was taken apart, the layers are the model's own.
    with contextlib.suppress(ValueError):
        found = insides(model, graph)
    if len(found) != 1 or found[0].symbol is None or "pre_logits" not in getattr(found[0].model, "endpoints", {}):
        return {}
    inner = found[0].model
    embed = keras.Model(inner.input, inner.endpoints["pre_logits"])
    return {"pre_logits": embed(found[0].symbol, training=False)}


def _given(preprocessing: Preprocessing, channels: int) -> dict[str, Any] | None:
    if preprocessing is None:
        return None
    found = preprocessing_spec(preprocessing)[0] if isinstance(preprocessing, str) else preprocessing
    return PreprocessingSpec.from_dict(found).broadcast(channels).to_dict()
