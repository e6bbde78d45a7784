"""A user's model around one of this package, seen as an image model of this package."""

import contextlib
from collections.abc import Mapping
from typing import Any

import keras

from keras_nest.keras_private import producer
from keras_nest.layers.changes import layers_by_path, set_trainable
from keras_nest.models.base import ImageModel, PublishedModel
from keras_nest.models.configured import ConfiguredModel
from keras_nest.models.wrapping import InnerModel, find_preprocessing, holds_ours, image_symbol, trace
from keras_nest.types import Size

_ACTIVATIONS = ("softmax", "sigmoid")
# Operations that leave what comes in at inference.
_KEEPING = {"Cast", "Dropout", "Flatten", "Identity", "Reshape", "Squeeze"}


class UserModel(keras.Model):
    """The same layers, with what predicts, explains and exports asks an `ImageModel` for.

    It computes what the user's model does, and is for reading only: save and train the user's own.

    Attributes:
        config: `image_size`, `in_channels`, `preprocessing`, and `num_classes` 0 where the output is an embedding.
        endpoints: of the model inside, if there is one, but for its head's; "logits" and "probabilities" are those of
            the user's model, as far as it has them.
        feature_maps: of the model inside.
        loss: what the user's model was compiled with; None if it was not.
        inside: the model inside, or another one of its architecture where its layers are the user's model's own; None
            if there are several.

    Args:
        model: a functional or Sequential model.
        preprocessing: what images in [0, 1] must become before it takes them.
    """

    def __init__(self, model: keras.Model, preprocessing: Mapping[str, Any] | None) -> None:
        graph = trace(model)
        # One input is called with one array, whatever the user's model has it in.
        inputs, outputs = keras.tree.flatten(graph.inputs), unpacked(graph.outputs)
        super().__init__(inputs[0] if len(inputs) == 1 else graph.inputs, outputs, name=model.name)
        self.loss = getattr(model, "loss", None)
        images = image_symbol(graph.inputs)
        shape = (None, None, None) if images is None else images.shape[1:]
        self.config: dict[str, Any] = {"image_size": shape[:2], "in_channels": shape[-1]}
        self.config["preprocessing"] = preprocessing
        part = graph.parts[0] if len(graph.parts) == 1 else None
        inside = part.model() if part else None
        # Keras would take them for layers of this model.
        self._inside, self._layers_inside = (lambda: inside), part.layers if part else dict
        symbols = part.endpoints() if part else {}
        self.endpoints = {name: x for name, x in symbols.items() if name not in ("logits", "probabilities")}
        self.classifier_activation, answers = _answers(outputs, symbols)
        self.endpoints |= answers
        if "pre_logits" in symbols and _last(outputs) is symbols["pre_logits"]:
            self.config["num_classes"] = 0
        self.feature_maps = {}
        if isinstance(inside, ImageModel):
            names = {id(x): name for name, x in inside.endpoints.items()}
            maps = {key: self.endpoints.get(names.get(id(x), "")) for key, x in inside.feature_maps.items()}
            self.feature_maps = {key: x for key, x in maps.items() if x is not None}

    @property
    def inside(self) -> Any:
        """See above."""
        return self._inside()

    @property
    def image_size(self) -> Size:
        """Height and width of the images in pixels."""
        height, width = self.config["image_size"]
        return height, width

    @property
    def num_classes(self) -> int:
        """Number of classes; 0 if the output is no answer for each image."""
        return self.output.shape[-1] if {"logits", "probabilities"} & self.endpoints.keys() else 0

    @property
    def evidence_endpoint(self) -> str:
        """See `ImageModel.evidence_endpoint`."""
        return self.inside.evidence_endpoint

    @property
    def block_inputs(self) -> tuple[str, ...]:
        """See `ImageModel.block_inputs`."""
        return self.inside.block_inputs

    @property
    def pools_class_token(self) -> bool:
        """See `ImageModel.pools_class_token`."""
        return self.inside.pools_class_token

    def attention_layers(self) -> dict[str, dict[str, keras.layers.Layer]]:
        """See `ImageModel.attention_layers`."""
        inside, layers = self.inside, self._layers_inside()
        paths = {id(layer): path for path, layer in layers_by_path(inside).items()}
        levels = inside.attention_layers()
        return {level: {x: layers[paths[id(layer)]] for x, layer in each.items()} for level, each in levels.items()}


def as_image_model(model: keras.Model, normalized: bool = False) -> Any:
    """An `ImageModel` as it is, and a user's model around one of this package as a `UserModel`.

    Args:
        model: any.
        normalized: its images are at hand as it takes them, so that a preprocessing that cannot be told is not missed.

    Raises:
        ValueError: it is another model, or what images the one inside is given cannot be told.
    """
    if isinstance(model, (ImageModel, UserModel)):
        return model
    if isinstance(model, PublishedModel) or not (isinstance(model, keras.Model) and holds_ours(model)):
        raise ValueError(
            f"The model {getattr(model, 'name', model)!r} is no image model of keras_nest, nor one around such; it "
            "must be a classifier such as NesT or ViT."
        )
    spec = None
    with contextlib.suppress(ValueError) if normalized else contextlib.nullcontext():
        spec = find_preprocessing(model)
    return UserModel(model, spec)


def unpacked(structure: Any) -> Any:
    """What `keras.Model([x], [y])` means: the tensor in a list of one; all else as it is, names of outputs too."""
    return structure[0] if isinstance(structure, (list, tuple)) and len(structure) == 1 else structure


def way_to_classes(model: keras.Model) -> str:
    """What a model that gives no classes must be, or what else to give in its place: the end of a sentence."""
    # A Sequential that was called, and has no Input, tells its outputs but not its output.
    is_alone = len(model.outputs) == 1 and not isinstance(getattr(model, "output", None), dict)
    if is_alone or isinstance(model, ConfiguredModel):
        return "it must be a classifier of images, with a head"
    return "take that of its outputs which has the classes, such as keras.Model(model.inputs, model.outputs[0])"


def model_inside(model: keras.Model) -> PublishedModel:
    """The model of this package in a user's model, with its weights: a layer of it, or one made of its layers.

    Raises:
        ValueError: there is none, there are several, or a part of it was left out.
    """
    parts = trace(model).parts
    if len(parts) != 1:
        raise ValueError(f"The model {model.name!r} holds {len(parts) or 'no'} models of keras_nest; it must hold one.")
    (part,) = parts
    return part.model() if part.is_whole else _assembled(model, part)


def _assembled(outer: keras.Model, part: InnerModel) -> PublishedModel:
    """A model with the weights of one that was taken apart; without a head, if that is the user's own."""
    model, layers = part.model(), part.layers()
    if any(type(layers.get(name)) is not type(model.get_layer(name)) for name in model.HEAD if model.num_classes):
        model = model.with_fields(num_classes=0)
    for layer in filter(lambda layer: layer.weights, model.layers):
        if layer.name not in layers:
            raise ValueError(
                f"The model {outer.name!r} goes on from the middle of a {type(model).__name__} and lacks its layer "
                f"{layer.name!r}; only a whole one can be taken out of it."
            )
        layer.set_weights(layers[layer.name].get_weights())
        set_trainable(layer, layers[layer.name].trainable)
    return model


def _answers(output: Any, symbols: Mapping[str, keras.KerasTensor]) -> tuple[str | None, dict[str, keras.KerasTensor]]:
    """The activation that a graph ends with, and its logits and probabilities; none where its output is no answer.

    Args:
        output: of the graph.
        symbols: endpoints of the model inside.
    """
    last = _last(output)
    if last is None or len(output.shape) != 2 or last is symbols.get("pre_logits"):
        return None, {}
    activation, logits = _ending(last)
    if last is symbols.get("probabilities"):
        logits = symbols["logits"]
    if activation is None:
        return None, {"logits": output}
    return activation, {"probabilities": output} | ({} if logits is None else {"logits": logits})


def _last(output: Any) -> keras.KerasTensor | None:
    """What a single output was before operations that leave it as it is at inference; None of several outputs."""
    if not isinstance(output, keras.KerasTensor):
        return None
    layer, _, args, _ = producer(output)
    return _last(args[0]) if type(layer).__name__ in _KEEPING else output


def _ending(tensor: keras.KerasTensor) -> tuple[str | None, keras.KerasTensor | None]:
    """The activation that makes a tensor, "softmax" or "sigmoid", and what it is made of; (None, itself) of others.

    The second is None where the logits are nowhere in the graph.
    """
    layer, index, args, kwargs = producer(tensor)
    kind, activation = type(layer).__name__, getattr(getattr(layer, "activation", None), "__name__", None)
    if kind in _KEEPING:
        return _ending(args[0])
    if kind in ("Softmax", "Sigmoid"):
        return kind.lower(), args[0]
    if isinstance(layer, keras.Model) and getattr(layer, "outputs", None):
        activation, inner = _ending(keras.tree.flatten(layer.outputs)[index])
        if activation is None or inner is None:
            return activation, None if activation else tensor
        return activation, keras.Model(layer.inputs, inner, name=f"{layer.name}_logits")(*args, **kwargs)
    if activation not in _ACTIVATIONS:
        return None, tensor
    if isinstance(layer, keras.layers.Dense) and getattr(layer, "quantization_mode", None) is None:
        logits = keras.ops.matmul(args[0], layer.kernel)
        return activation, logits if layer.bias is None else keras.ops.add(logits, layer.bias)
    return activation, args[0] if isinstance(layer, keras.layers.Activation) else None
