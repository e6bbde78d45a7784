"""Models of this package inside models of users: where they are, and what images must become before they see them.

A user's model has no preprocessing of its own, but its weights were trained on what the model inside expects. What
lies between the input and that model is tried on random images: whether it leaves normalized images as they are, or
makes normalized ones of images in [0, 1] or 0..255.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from keras_nest.keras_private import producer
from keras_nest.layers.changes import layers_by_path, layers_inside
from keras_nest.layers.image_input import ImageInput
from keras_nest.models.base import ImageModel, PublishedModel, preprocessing_of_input
from keras_nest.models.keras_file import FOR_ANY_MODEL

_PREPROCESSING = "keras_nest>EvalPreprocessing"
_TOLERANCE = 1e-3
_SYMBOL, _NONE = "symbol", object()

Arrays = Callable[[Any], Any]


@dataclasses.dataclass(frozen=True)
class InnerModel:
    """A model of this package in another one: as a layer, or taken apart into its layers.

    Attributes:
        preprocessing: specification of its images; None if it has none.
        symbol: what it is called on, in the graph of the other one.
        endpoints: gives those of its `endpoints` that are in that graph.
        model: gives the model itself or, of one taken apart, another one of the same architecture.
        layers: gives its layers by their paths.
        is_whole: whether it is a layer, with all that was changed on it.
    """

    preprocessing: dict[str, Any] | None
    symbol: keras.KerasTensor
    endpoints: Callable[[], dict[str, keras.KerasTensor]]
    model: Callable[[], Any]
    layers: Callable[[], dict[str, keras.layers.Layer]]
    is_whole: bool


@dataclasses.dataclass(frozen=True)
class Graph:
    """A copy of a model's graph, of the same layers, in which the intermediates of the models inside are symbols, too.

    Attributes:
        inputs: as of the model.
        outputs: as of the model.
        parts: models of this package in it.
    """

    inputs: Any
    outputs: Any
    parts: tuple[InnerModel, ...]


def find_preprocessing(model: keras.Model) -> dict[str, Any] | None:
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
    inputs = _symbols(getattr(model, "inputs", None))
    if inputs and inputs[0] in preprocessing_of_input:
        return preprocessing_of_input[inputs[0]]
    graph = trace(model)
    found = [_wanted(model, graph, part) for part in graph.parts]
    if not found or any(_range(spec) != _range(found[0]) for spec in found):
        raise ValueError(_sentence(model))
    return found[0]


def holds_ours(model: keras.Model) -> bool:
    """Whether layers of this package's models are in a model."""
    return any(_is_ours(layer) for layer in layers_inside(model))


def image_symbol(inputs: Any) -> keras.KerasTensor | None:
    """The images among the inputs of a model: the only one of shape (B, H, W, C) and of floats."""
    found = [x for x in _symbols(inputs) if len(x.shape) == 4 and "float" in x.dtype]
    return found[0] if len(found) == 1 else None


def trace(model: keras.Model) -> Graph:
    """The graph of a Sequential or functional model.

    Raises:
        ValueError: it is not built, it is another kind of model, or one of this package is in a layer that does not
            show how it is called.
    """
    if isinstance(model, keras.Sequential) and not _symbols(getattr(model, "inputs", None)):
        raise ValueError(f"The model {model.name!r} is not built; begin it with keras.Input(…), or call it once.")
    return _Tracer(model).graph()


class _Tracer:
    """Calls the layers of a model once more, each on what it was called on."""

    def __init__(self, model: keras.Model) -> None:
        self._model = model
        self._parts: list[InnerModel] = []
        self._results: dict[str, Any] = {}
        self._shown: dict[int, keras.Model] = {}

    def graph(self) -> Graph:
        model = self._model
        if isinstance(model, keras.Sequential):
            inputs = outputs = keras.Input(model.input_shape[1:], dtype=model.inputs[0].dtype)
            for layer in model.layers:
                outputs = self._call(layer, outputs)
        elif hasattr(model, "operations") and _symbols(model.inputs):
            # With the function that clones layers being the identity, it is the same layers that are called.
            copy = keras.models.clone_model(model, clone_function=lambda layer: layer, call_function=self._call)
            inputs, outputs = copy.input, copy.output
        else:
            raise ValueError(_sentence(model))
        return Graph(inputs, outputs, tuple(self._parts))

    def _call(self, layer: Any, *args: Any, **kwargs: Any) -> Any:
        result = self._result(layer, *args, **kwargs)
        self._results[getattr(layer, "name", "")] = result
        return result

    def _result(self, layer: Any, *args: Any, **kwargs: Any) -> Any:
        if isinstance(layer, ImageInput):
            self._parts.append(self._taken_apart(layer, args[0]))
        elif isinstance(layer, keras.Layer) and (_is_ours(layer) or holds_ours(layer)):
            if isinstance(layer, ImageModel):
                part = _whole(layer, layer.input)
                return self._exposed(layer, Graph(layer.input, layer.output, (part,)), *args, **kwargs)
            if isinstance(layer, PublishedModel) or _hidden_spec(layer) is not _NONE:
                self._parts.append(_whole(layer, _images(args)))
            elif isinstance(layer, keras.Model):
                return self._exposed(layer, trace(layer), *args, **kwargs)
            elif not any(isinstance(each, ImageInput) for each in self._model.layers):
                raise ValueError(_sentence(self._model))
        return layer(*args, **kwargs)

    def _exposed(self, layer: keras.Model, inner: Graph, *args: Any, **kwargs: Any) -> Any:
        """Calls a model so that it also returns what is of interest inside it."""
        # Keras allows no model that returns its own input.
        own = {id(x) for x in _symbols(inner.inputs)}
        shown = [
            {name: x for name, x in {**part.endpoints(), _SYMBOL: part.symbol}.items() if id(x) not in own}
            for part in inner.parts
        ]
        outputs = {"outputs": inner.outputs, "parts": shown}
        # A layer may be called several times.
        network = self._shown.setdefault(id(layer), keras.Model(inner.inputs, outputs, name=layer.name))
        found = network(*args, **kwargs)
        for part, endpoints in zip(inner.parts, found["parts"], strict=True):
            symbol = endpoints.pop(_SYMBOL) if _SYMBOL in endpoints else _images(args)
            if isinstance(layer, ImageModel):
                # One symbol for one value.
                endpoints |= {name: found["outputs"] for name, x in layer.endpoints.items() if x is layer.output}
            self._parts.append(dataclasses.replace(part, symbol=symbol, endpoints=functools.partial(dict, endpoints)))
        return found["outputs"]

    def _taken_apart(self, layer: ImageInput, symbol: keras.KerasTensor) -> InnerModel:
        fields = layer.describe()
        build = functools.cache(lambda: keras.saving.get_registered_object(layer.architecture)(**fields))
        return InnerModel(
            fields.get("preprocessing"),
            symbol,
            functools.cache(lambda: _endpoints(build(), self._results)),
            build,
            lambda: layers_by_path(self._model),
            is_whole=False,
        )


def _whole(model: keras.Model, symbol: keras.KerasTensor) -> InnerModel:
    spec = model.config.get("preprocessing") if isinstance(model, PublishedModel) else _hidden_spec(model)
    endpoints = model.endpoints if isinstance(model, ImageModel) else {}
    return InnerModel(spec, symbol, lambda: endpoints, lambda: model, lambda: layers_by_path(model), is_whole=True)


def _endpoints(model: ImageModel, results: dict[str, Any]) -> dict[str, keras.KerasTensor]:
    """Symbols of a graph for the endpoints of a model, by what layers of the same names gave there."""
    found = {name: _like(endpoint, results) for name, endpoint in model.endpoints.items()}
    return {name: symbol for name, symbol in found.items() if symbol is not None}


def _like(tensor: keras.KerasTensor, results: dict[str, Any]) -> keras.KerasTensor | None:
    """The symbol that stands for one of another graph; None if weights are needed that are not there."""
    layer, index, args, kwargs = producer(tensor)
    if layer.name not in results:
        if getattr(layer, "variables", ()) or isinstance(layer, keras.layers.InputLayer):
            return None
        # A map that only other outputs of the model need.
        args, kwargs = keras.tree.map_structure(
            lambda x: _like(x, results) if isinstance(x, keras.KerasTensor) else x, (args, kwargs)
        )
        if any(x is None for x in keras.tree.flatten(args)):
            return None
        results[layer.name] = layer(*args, **kwargs)
    return keras.tree.flatten(results[layer.name])[index]


def _hidden_spec(model: Any) -> Any:
    """The preprocessing for a model that begins with the input of a `LiT`; `_NONE` for any other."""
    inputs = _symbols(getattr(model, "inputs", None))
    return preprocessing_of_input.get(inputs[0], _NONE) if inputs else _NONE


def _symbols(structure: Any) -> list[keras.KerasTensor]:
    """Symbolic inputs; none of a model that is not built yet, or not functional."""
    return keras.tree.flatten(structure) if structure is not None else []


def _images(args: tuple[Any, ...]) -> keras.KerasTensor:
    """The images among the arguments of a call."""
    found = [x for x in keras.tree.flatten(args) if isinstance(x, keras.KerasTensor) and len(x.shape) == 4]
    return found[0] if found else keras.tree.flatten(args)[0]


def _wanted(model: keras.Model, graph: Graph, part: InnerModel) -> dict[str, Any] | None:
    """What images in [0, 1] must become for one of the models inside to see them normalized."""
    inputs = image_symbol(graph.inputs)
    if inputs is None or None in inputs.shape[1:] or part.preprocessing is None:
        raise ValueError(_sentence(model))
    spec, channels = part.preprocessing, inputs.shape[-1]
    images = np.random.default_rng(0).random((2, *inputs.shape[1:]), np.float32)
    mean, std = np.asarray(spec["mean"], np.float32), np.asarray(spec["std"], np.float32)
    seen, given = (images - mean) / std, _before(model, inputs, part)
    if seen.shape == images.shape and _same(given(seen), seen):
        return spec
    for highest in (1.0, 255.0):
        made = given(highest * images)
        if _same(made, seen):
            return {**spec, "mean": [0.0] * channels, "std": [1 / highest] * channels}
        if any(_same(made, layer(images)) and _normalizes(layer, spec) for layer in _preprocessings(model)):
            return None
    raise ValueError(_sentence(model))


def _before(model: keras.Model, inputs: keras.KerasTensor, part: InnerModel) -> Arrays:
    """What the model inside is given for images; nothing where they are refused before, as by `EvalPreprocessing`."""
    if part.symbol is inputs:
        return np.asarray
    try:
        before = keras.Model(inputs, part.symbol)
    except ValueError:
        # It is made of other inputs, too.
        raise ValueError(_sentence(model)) from None

    def compute(images: Any) -> np.ndarray:
        try:
            # Augmentation would act otherwise.
            return np.asarray(before(images, training=False))
        except ValueError:
            return np.empty(0)

    return compute


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
    return (name.startswith("keras_nest>") and name not in FOR_ANY_MODEL) or isinstance(layer, PublishedModel)


def _sentence(model: keras.Model) -> str:
    return (
        f"The model {model.name!r} has layers of keras_nest inside, and it cannot be told which images it takes; say: "
        'preprocessing="nest_tiny" (or another name) if they are normalized as for that model, preprocessing=None if '
        'they are in [0, 1], preprocessing={"mean": [0.0], "std": [1 / 255]} if in 0..255.'
    )
