"""Models of this package inside models of users: what images must become before such a model takes them.

A user's model has no preprocessing of its own, but its weights were trained on what the model inside expects. What
lies between the input and that model is tried on random images: whether it leaves normalized images as they are, or
makes normalized ones of images in [0, 1] or 0..255.
"""

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np

from keras_nest.layers.changes import layers_inside
from keras_nest.models.base import PublishedModel, preprocessing_of_input

# Layers of this package that are no part of its models: images in [0, 1] are what they take.
_PREPROCESSING, _OTHERS = "keras_nest>EvalPreprocessing", {"keras_nest>EvalPreprocessing", "keras_nest>HubLayer"}
_TOLERANCE = 1e-3

Arrays = Callable[[Any], Any]


@dataclasses.dataclass(frozen=True)
class Inside:
    """A model of this package in another one.

    Attributes:
        model: the model.
        spec: the preprocessing of its images; None if it has none.
        before: what the other model makes of its input before.
        symbol: the same as a symbolic tensor of `Graph`; None where it is deeper inside.
    """

    model: keras.Model
    spec: dict[str, Any] | None
    before: Arrays
    symbol: keras.KerasTensor | None = None


@dataclasses.dataclass(frozen=True)
class Graph:
    """A copy of a model's graph, of the same layers.

    Attributes:
        inputs: its only input.
        outputs: its outputs.
        calls: layers in the order in which they are called, with what they are called on.
    """

    inputs: keras.KerasTensor
    outputs: Any
    calls: list[tuple[Any, Any]]


def preprocessing_of(model: keras.Model) -> dict[str, Any] | None:
    """What images in [0, 1] must become before a model takes them.

    Args:
        model: of this package; a user's around one or several of it, or that goes on from the layers of one; or any.

    Returns:
        A specification as `keras_nest.EvalPreprocessing` takes it, or None if images in [0, 1] are what it takes. Of a
        model that normalizes by itself, mean and std only bring pixels into the range that it wants.

    Raises:
        ValueError: a model of this package is inside, and what it is given cannot be told.
    """
    if isinstance(model, PublishedModel):
        return model.config.get("preprocessing")
    if not holds_ours(model):
        return None
    inputs = _inputs(model)
    if inputs and inputs[0] in preprocessing_of_input:
        return preprocessing_of_input[inputs[0]]
    found = [_wanted(model, part) for part in insides(model, trace(model))]
    if not found or any(_range(spec) != _range(found[0]) for spec in found):
        raise ValueError(_sentence(model))
    return found[0]


def holds_ours(model: keras.Model) -> bool:
    """Whether layers of this package's models are in a model."""
    return any(_is_ours(layer) for layer in layers_inside(model))


def insides(model: keras.Model, graph: Graph) -> list[Inside]:
    """The models of this package in another one, where each can be found.

    Args:
        model: the other one.
        graph: its own.

    Raises:
        ValueError: one is in a layer that does not show how it is called.
    """
    return list(_insides(model, graph))


def trace(model: keras.Model) -> Graph:
    """The graph of a Sequential or functional model with one input.

    Raises:
        ValueError: it is another kind of model.
    """
    calls: list[tuple[Any, Any]] = []

    def call(layer: Any, *args: Any, **kwargs: Any) -> Any:
        calls.append((layer, args[0] if args else None))
        return layer(*args, **kwargs)

    if isinstance(model, keras.Sequential) and _inputs(model):
        inputs = keras.Input(model.input_shape[1:], dtype=model.inputs[0].dtype)
        outputs = inputs
        for layer in model.layers:
            outputs = call(layer, outputs)
        return Graph(inputs, outputs, calls)
    if not (hasattr(model, "operations") and len(_inputs(model)) == 1):
        raise ValueError(_sentence(model))
    copied = keras.models.clone_model(model, clone_function=lambda layer: layer, call_function=call)
    return Graph(copied.inputs[0], copied.output, calls)


def _inputs(model: keras.Model) -> list[keras.KerasTensor]:
    """Symbolic inputs; none of a model that is not built yet, or not functional."""
    return getattr(model, "inputs", None) or []


def _insides(model: keras.Model, graph: Graph) -> Iterator[Inside]:
    for layer, symbol in graph.calls:
        if not isinstance(layer, keras.Layer) or not any(_is_ours(part) for part in (layer, *layers_inside(layer))):
            continue
        # Keras allows no model whose output is its input itself.
        before = _unchanged if symbol is graph.inputs else _inference(keras.Model(graph.inputs, symbol))
        if isinstance(layer, PublishedModel):
            yield Inside(layer, layer.config.get("preprocessing"), before, symbol)
        elif isinstance(layer, keras.Model) and _inputs(layer) and layer.inputs[0] in preprocessing_of_input:
            yield Inside(layer, preprocessing_of_input[layer.inputs[0]], before)
        elif isinstance(layer, keras.Model):
            for inner in insides(layer, trace(layer)):
                yield dataclasses.replace(inner, before=_after(before, inner.before), symbol=None)
        else:
            raise ValueError(_sentence(model))


def _unchanged(x: Any) -> Any:
    return x


def _inference(model: keras.Model) -> Arrays:
    # Augmentation would act otherwise.
    return lambda x: model(x, training=False)


def _after(first: Arrays, second: Arrays) -> Arrays:
    return lambda x: second(first(x))


def _wanted(model: keras.Model, part: Inside) -> dict[str, Any] | None:
    """What images in [0, 1] must become for one of the models inside to see them normalized."""
    shape = model.input_shape[1:]
    if len(shape) != 3 or None in shape or part.spec is None:
        raise ValueError(_sentence(model))
    spec, channels = part.spec, shape[-1]
    images = np.random.default_rng(0).random((2, *shape), np.float32)
    mean, std = np.asarray(spec["mean"], np.float32), np.asarray(spec["std"], np.float32)
    seen = (images - mean) / std
    if seen.shape == images.shape and _same(_given(part, seen), seen):
        return spec
    for highest in (1.0, 255.0):
        made = _given(part, highest * images)
        if _same(made, seen):
            return {**spec, "mean": [0.0] * channels, "std": [1 / highest] * channels}
        if any(_same(made, layer(images)) and _normalizes(layer, spec) for layer in _preprocessings(model)):
            return None
    raise ValueError(_sentence(model))


def _given(part: Inside, images: np.ndarray) -> np.ndarray:
    """What the model inside is given for images; nothing where they are refused before, as by `EvalPreprocessing`."""
    try:
        return np.asarray(part.before(images))
    except ValueError:
        return np.empty(0)


def _same(one: Any, other: Any) -> bool:
    one, other = np.asarray(one), np.asarray(other)
    return one.shape == other.shape and bool(np.abs(one - other).max() < _TOLERANCE)


def _preprocessings(model: keras.Model) -> list[Any]:
    return [layer for layer in layers_inside(model) if keras.saving.get_registered_name(type(layer)) == _PREPROCESSING]


def _normalizes(layer: Any, spec: dict[str, Any]) -> bool:
    return list(layer.mean) == list(spec["mean"]) and list(layer.std) == list(spec["std"])


def _range(spec: dict[str, Any] | None) -> Any:
    return spec and (list(spec["mean"]), list(spec["std"]))


def _is_ours(layer: Any) -> bool:
    """Whether a layer is, or is a part of, a model of this package."""
    name = str(keras.saving.get_registered_name(type(layer)))
    return (name.startswith("keras_nest>") and name not in _OTHERS) or isinstance(layer, PublishedModel)


def _sentence(model: keras.Model) -> str:
    return (
        f"The model {model.name!r} has layers of keras_nest inside, and it cannot be told which images it takes; say: "
        'preprocessing="nest_tiny" (or another name) if they are normalized as for that model, preprocessing=None if '
        'they are in [0, 1], preprocessing={"mean": [0.0], "std": [1 / 255]} if in 0..255.'
    )
