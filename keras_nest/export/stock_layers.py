"""The network of a model in layers and operations of Keras alone.

Layers of this package compute with stock layers inside, with `keras.ops` and with weights of their own. `call` of a
stand-in, a layer whose inner layers and weights are exchanged for stock ones, leaves a graph of these on symbolic
tensors. So a new layer needs nothing here, unless it asks a tensor for what only a real one has.
"""

import math
from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from keras_nest.layers.attention import BlockAttention
from keras_nest.layers.base import Layer
from keras_nest.layers.changes import layers_inside
from keras_nest.layers.dense_general import DenseGeneral
from keras_nest.layers.image_input import ImageInput
from keras_nest.layers.normalization import LayerNormalization
from keras_nest.layers.random import Dropout
from keras_nest.layers.resnet import StdConv
from keras_nest.layers.stochastic_depth import StochasticDepth
from keras_nest.layers.tokens import ClassToken
from keras_nest.models.outputs import ClassifierHead

_FLOAT32 = {"dtype": "float32"}


def in_stock_layers(model: keras.Model) -> keras.Model:
    """A model that computes the same, can be trained, and can be saved and read without this package.

    Args:
        model: a functional or Sequential model in float32; neither quantized nor with LoRA.

    Returns:
        A functional model of the same inputs and outputs, with weights of its own. Its layers have the names of the
        model's, those inside of others joined by dots.

    Raises:
        ValueError: a layer of this package has no counterpart, such as `EvalPreprocessing`, or one of others holds it.
    """
    # A plain model: others would be made of their configuration, and compiled again.
    plain = keras.Model(model.input, model.output, name=model.name)
    inputs = keras.tree.map_structure(_input_like, plain.input)
    call = _Tracer(keras.tree.flatten(inputs)[0]).call
    return keras.models.clone_model(plain, inputs, clone_function=lambda layer: layer, call_function=call)


def _input_like(x: keras.KerasTensor) -> keras.KerasTensor:
    return keras.Input(batch_shape=x.shape, dtype=x.dtype, name=x.name)


class _Tracer:
    """Calls stock layers in the places of layers.

    Args:
        x: a tensor of the graph: layers without weights of their own inputs depend on it.
    """

    def __init__(self, x: keras.KerasTensor) -> None:
        # Zero for any batch and any values: the number of the one row of tables that hold weights.
        self._row = ops.cast(ops.sum(ops.zeros_like(x)), "int32")
        # With the layer itself, so that no other one gets its id.
        self._made: dict[int, tuple[Any, Callable[..., Any]]] = {}

    def call(self, layer: Any, *args: Any, **kwargs: Any) -> Any:
        """What a layer or operation makes of symbolic tensors."""
        return self.replace(layer, layer.name)(*args, **kwargs)

    def replace(self, layer: Any, name: str) -> Callable[..., Any]:
        """What is called in the place of a layer or operation; the same each time."""
        if id(layer) not in self._made:
            self._made[id(layer)] = layer, self._make(layer, name)
        return self._made[id(layer)][1]

    def _make(self, layer: Any, name: str) -> Callable[..., Any]:
        if getattr(layer, "inputs", None):
            return in_stock_layers(layer)
        if isinstance(layer, (Dropout, StochasticDepth)):
            return _dropout(layer, name)
        if isinstance(layer, DenseGeneral):
            return _dense(name, layer.kernel, layer.bias, len(layer.input_axes or "C"), layer.activation)
        if isinstance(layer, ClassToken):
            # Its own broadcast asks for the size of the batch.
            token = self._weight(layer.cls, f"{name}.cls")
            return lambda x: ops.concatenate([ops.zeros_like(x[:, :1]) + token, x], axis=1)
        if isinstance(layer, ClassifierHead):
            return _copy(layer, keras.layers.Dense, name)
        if isinstance(layer, LayerNormalization):
            return _copy(layer, keras.layers.LayerNormalization, name)
        if isinstance(layer, (Layer, ImageInput, StdConv)):
            return self._stand_in(layer, name).call
        for inner in (layer, *layers_inside(layer)) if isinstance(layer, keras.layers.Layer) else ():
            if type(inner).__module__.startswith("keras_nest."):
                raise ValueError(
                    f"The layer {name!r} is or holds the {type(inner).__name__} {inner.name!r}, which layers of Keras "
                    "cannot stand for there; leave it out of the model, or export a SavedModel."
                )
        return _copy(layer, type(layer), name)

    def _stand_in(self, layer: Any, name: str) -> Any:
        """An object of the layer's class, which Keras knows nothing of."""
        found = object.__new__(type(layer))
        for key, value in vars(layer).items():
            is_weight = isinstance(value, keras.Variable)
            own = self._weight(value, f"{name}.{key.strip('_')}") if is_weight else self._inside(value, name)
            found.__dict__[key] = own
        if isinstance(layer, BlockAttention):
            kernel, bias = layer.proj_kernel, layer.bias
            found.__dict__["project_values"] = _dense(f"{name}.proj", kernel, bias, 2)
        return found

    def _inside(self, value: Any, name: str) -> Any:
        """An attribute of a stand-in, with what is called for the layers in it."""
        if isinstance(value, keras.layers.Layer):
            return _Inner(self, value, f"{name}.{value.name}")
        if isinstance(value, (list, tuple)):
            return [self._inside(item, name) for item in value]
        return {key: self._inside(item, name) for key, item in value.items()} if isinstance(value, dict) else value

    def _weight(self, variable: keras.Variable, name: str) -> keras.KerasTensor:
        """A variable as a symbolic tensor: the row of an embedding, which is exact and trained as it is."""
        size = math.prod(variable.shape)
        options = {"embeddings_regularizer": variable.regularizer, **_FLOAT32}
        table = keras.layers.Embedding(1, size, name=name, **options)
        row = table(self._row)
        table.set_weights([ops.reshape(variable, (1, size))])
        table.trainable = variable.trainable
        return ops.reshape(row, variable.shape)


class _Inner:
    """A layer inside a stand-in: called, it is a stock one; asked, it answers as the layer."""

    def __init__(self, tracer: _Tracer, layer: keras.layers.Layer, name: str) -> None:
        self._tracer, self._layer, self._name = tracer, layer, name

    def __call__(self, *args: Any, training: bool | None = None, **kwargs: Any) -> Any:
        # A graph passes on by itself whether it is training.
        given = {} if training is None else {"training": training}
        return self._tracer.replace(self._layer, self._name)(*args, **given, **kwargs)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._layer, name)


def _dropout(layer: Dropout | StochasticDepth, name: str) -> Callable[..., Any]:
    """Of single values, or of whole samples; both divide what they keep by its probability."""
    if not layer.rate:
        return lambda x, training=None: x
    per_sample = isinstance(layer, StochasticDepth)
    made: list[keras.layers.Layer] = []

    def call(x: Any, training: bool | None = None) -> Any:
        if not made:
            shape = (None,) + (1,) * (len(x.shape) - 1) if per_sample else None
            made.append(keras.layers.Dropout(layer.rate, noise_shape=shape, name=name, **_FLOAT32))
        return made[0](x, training=training)

    return call


def _dense(name: str, kernel: Any, bias: Any, inputs: int, activation: Any = None) -> keras.layers.Dense:
    """The matrix product of `project`, with its arguments."""
    size = math.prod(kernel.shape[:inputs])
    weights = [ops.reshape(kernel, (size, -1)), *([] if bias is None else [ops.reshape(bias, (-1,))])]
    layer = keras.layers.Dense(
        weights[0].shape[1],
        activation,
        use_bias=bias is not None,
        kernel_regularizer=kernel.regularizer,
        name=name,
        **_FLOAT32,
    )
    layer.build((None, size))
    layer.set_weights(weights)
    layer.trainable = kernel.trainable
    return layer


def _copy(layer: Any, kind: Any, name: str) -> Any:
    """A stock layer or operation with the same arguments and weights."""
    new = kind.from_config({**layer.get_config(), "name": name})
    if isinstance(layer, keras.layers.Layer) and layer.weights:
        new.build_from_config(layer.get_build_config())
        new.set_weights(layer.get_weights())
    return new
