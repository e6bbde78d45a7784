"""The object that every format starts from: a Keras model as TF-Hub's reusable SavedModel.

`model.export` and `keras.export.ExportArchive` are not used: they store every weight twice (Keras' variables beside
TensorFlow's), and their result is neither callable nor trainable by TF-Hub's layer. The object here follows TF-Hub's
"Reusable SavedModels" and "Common SavedModel APIs for Images".
"""

import functools
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_nest.export.network import Carrier
from keras_nest.exported import VALUES
from keras_nest.models.answers import model_config, task_of
from keras_nest.models.base import ImageModel, logits_model
from keras_nest.specs import PreprocessingSpec
from keras_nest.targets import REGRESSION
from keras_nest.value_range import check_unit

_ACTIVATIONS = (keras.activations.softmax, keras.activations.sigmoid)


def reusable_object(
    model: keras.Model, head: str = "classifier", carrier: Carrier | None = None
) -> tf.train.Checkpoint:
    """What a SavedModel holds: `__call__(images, training=False)`, its variables and regularization losses.

    Args:
        model: a built model with one image input, and one output or a dictionary of outputs.
        head: "classifier" for all of the model; "none" for the embedding that the head would see, without the weights
            of the head.
        carrier: for other models of the same weights; None is one for this alone.

    Returns:
        An object to save, or to call: images float32 (B, H, W, channels) in [0, 1] -> float32 outputs of the
        model, of a classifier always the logits. It stops with an InvalidArgumentError at values that cannot be in
        [0, 1], and at an empty batch. Where the carrier says so it is for inference, and has no trainable variables.
        `Checkpoint` is the public trackable that takes any attribute.

    Raises:
        ValueError: the model has several inputs, an input that is not an image of fixed size, a list of outputs, a
            normalization for another number of channels, or no embedding to end with.
    """
    shape = image_shape(model)
    check_outputs(model)
    network = logits_model(model) if head == "classifier" else without_head(model)
    carrier = carrier or Carrier()
    compute = on_unit_images(carrier.function(network), model)
    spec = tf.TensorSpec((None, *shape), name="images")
    modes = (False, True) if carrier.trains else (False,)
    # Saving traces what is saved anew, and signatures do, too; so that this is cheap, the model is traced here.
    traced = {training: _traced(compute, spec, training) for training in modes}

    @tf.function(autograph=False)
    def call(images: tf.Tensor, training: bool = False) -> Any:
        # A carrier that does not train says so itself.
        return traced.get(training, functools.partial(compute, training=training))(check_unit(images))

    # Only functions traced here exist in the file; the Python argument becomes two of them.
    for training in modes:
        call.get_concrete_function(spec, training=training)

    module = holder(network, carrier)
    module.trainable_variables = carrier.variables(network.trainable_variables) if carrier.trains else []
    module.regularization_losses = _regularization_losses(network) if carrier.trains else []
    module.weights = carrier.held()
    module.__call__ = call
    return module


def _traced(compute: Callable[..., Any], spec: tf.TensorSpec, training: bool) -> Callable[[tf.Tensor], Any]:
    function = tf.function(lambda images: compute(images, training=training), autograph=False)
    return function.get_concrete_function(spec)


def holder(network: keras.Model, carrier: Carrier | None = None) -> tf.train.Checkpoint:
    """An object that holds the variables of a model, so that a function of it can be saved.

    Args:
        network: the model.
        carrier: of the function.
    """
    module = tf.train.Checkpoint()
    module.variables = (carrier or Carrier()).variables(network.variables)
    return module


def on_unit_images(network: Callable[..., Any], model: keras.Model) -> Callable[..., Any]:
    """A function of images in [0, 1] that computes what a network does, in float32.

    Args:
        network: the model, or another one of its input, as a `Carrier` brings it.
        model: whose normalization comes first.
    """
    normalize = _normalization(model)

    def compute(images: tf.Tensor, training: bool = False) -> Any:
        outputs = network(normalize(images), training=training)
        # Under mixed precision maps come out in bfloat16, which few clients read.
        return tf.nest.map_structure(lambda x: tf.cast(x, tf.float32), outputs)

    return compute


def without_head(model: keras.Model) -> keras.Model:
    """The same layers up to the embedding `pre_logits`.

    Raises:
        ValueError: the model has no such endpoint.
    """
    endpoints = getattr(model, "endpoints", {})
    if "pre_logits" not in endpoints:
        raise ValueError(f"The model {model.name!r} has no head to leave out; export it with its own outputs.")
    return keras.Model(model.input, endpoints["pre_logits"], name=model.name)


def _normalization(model: keras.Model) -> Callable[[tf.Tensor], tf.Tensor]:
    """(images - mean) / std with the values that the model carries.

    Raises:
        ValueError: the values are for another number of channels.
    """
    fields = model_config(model).get("preprocessing")
    if not fields:
        return lambda images: images
    spec = PreprocessingSpec.from_dict(fields).broadcast(image_shape(model)[-1])
    mean, std = (np.asarray(values, np.float32) for values in (spec.mean, spec.std))
    # The same two operations as `keras_nest.EvalPreprocessing`, so that the results are the same to the last bit.
    return lambda images: (images - mean) / std


def _regularization_losses(model: keras.Model) -> list[Callable[..., Any]]:
    """One function without arguments for every variable with a regularizer, as TF-Hub's layer expects."""

    def loss(variable: keras.Variable) -> Callable[..., Any]:
        return tf.function(lambda: variable.regularizer(variable.value), input_signature=[])

    return [loss(variable) for variable in model.trainable_variables if variable.regularizer]


def output_name(model: keras.Model) -> str:
    """What the signatures call the output of a model that has one.

    Returns:
        "embedding" of a model of this package without a head; "values" of one that was trained to tell a number;
        "probabilities" of a user's model that ends with a softmax or sigmoid; else "logits".
    """
    if task_of(model) == REGRESSION:
        return VALUES
    if model_config(model).get("num_classes") == 0:
        return "embedding"
    return "probabilities" if not isinstance(model, ImageModel) and _ends_with_activation(model) else "logits"


def _ends_with_activation(model: keras.Model) -> bool:
    """Whether the last layer or operation makes probabilities."""
    last: Any = model.layers[-1]
    if not isinstance(model, keras.Sequential) and not isinstance(model.output, dict):
        last = next(operation for operation in model.operations if operation.name == model.output_names[0])
    if isinstance(last, keras.Model):
        return _ends_with_activation(last)
    activation = getattr(last, "activation", None)
    return activation in _ACTIVATIONS or type(last).__name__ in ("Softmax", "Sigmoid")


def image_shape(model: keras.Model) -> tuple[int, int, int]:
    """Height, width and channels of the model's input.

    Raises:
        ValueError: there is not exactly one input, or it is not an image of fixed size, in floats.
    """
    shapes = [tuple(x.shape) for x in getattr(model, "inputs", None) or ()]
    if len(shapes) > 1:
        raise ValueError(
            f"The model {model.name!r} has {len(shapes)} inputs, and an export takes images alone; write it with "
            "Keras' own model.export(path), whose inputs are the model's: images as it takes them, normalized or not."
        )
    if len(shapes) != 1 or len(shapes[0]) != 4 or None in shapes[0][1:]:
        raise ValueError(
            f"The model {model.name!r} has inputs of shape {shapes}; it must have a single one (None, height, width, "
            "channels) with fixed sizes to be exported."
        )
    if "float" not in model.inputs[0].dtype:
        raise ValueError(
            f"The model {model.name!r} takes images of dtype {model.inputs[0].dtype}; it must take floats to be "
            "exported: what is written takes them in [0, 1]."
        )
    return shapes[0][1:]


def check_outputs(model: keras.Model) -> None:
    """Refuses a sequence, which has no names for the signature to give.

    Raises:
        ValueError: the model puts one out.
    """
    if isinstance(model.output, (list, tuple)):
        raise ValueError(
            f"The model {model.name!r} has a list of {len(model.output)} outputs; it must have a single one or a "
            "dictionary of them to be exported."
        )
