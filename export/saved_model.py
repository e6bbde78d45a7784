"""Keras models to reusable SavedModels.

`model.export` and `keras.export.ExportArchive` are not used: they store every weight twice (Keras' variables beside
TensorFlow's), and their result is neither callable nor trainable by TF-Hub's layer. The object here follows TF-Hub's
"Reusable SavedModels" and "Common SavedModel APIs for Images".
"""

import pathlib
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_nest.files import atomic_output


def to_saved_model(
    model: keras.Model, path: str | pathlib.Path, overwrite: bool = False, batch_size: int | None = None
) -> pathlib.Path:
    """Writes a SavedModel that takes images in [0, 1]; loading it needs TensorFlow only.

    The loaded object has `__call__(images, training=False)`, `variables`, `trainable_variables` and
    `regularization_losses`, so `hub.load` and `hub.KerasLayer(trainable=True)` use it, and the signature
    `serving_default` with the input `images`. Images are float32 (B, H, W, channels) of the model's own size.

    The normalisation of the model's preprocessing specification (`mean`, `std`) is part of the file; resizing and
    cropping are not. A model without a specification is taken to be trained on images in [0, 1] and gets them as they
    are. What comes out is float32 and depends on the model:

    * a classifier: `__call__` returns the logits (B, num_classes); the signature calls them `logits`;
    * num_classes=0: the pooled vector (B, C), called `embedding`;
    * features_only=True: a dictionary of maps (B, H, W, C) under the model's own names, from both.

    Args:
        model: a built model with one image input and one output, or a dictionary of outputs.
        path: directory to write; it appears complete or not at all.
        overwrite: replace what lies there.
        batch_size: batch that the signature is fixed to, as TFLite wants it; None leaves it open. `__call__` takes
            any batch.

    Returns:
        The path.

    Raises:
        ValueError: the model has several inputs, an input that is not an image of fixed size, a list of outputs, or a
            normalisation for another number of channels.
        FileExistsError: something lies at `path` and `overwrite` is false.
        PermissionError: the directory cannot be written to.
    """
    image_shape = _image_shape(model)
    _check_outputs(model)
    with atomic_output(path, overwrite) as partial:
        module = _reusable_object(model, image_shape)
        serve = _serving_function(module, tf.TensorSpec((batch_size, *image_shape), name="images"), _output_name(model))
        tf.saved_model.save(module, partial, signatures={"serving_default": serve})
    return pathlib.Path(path)


def _reusable_object(model: keras.Model, image_shape: tuple[int, int, int]) -> tf.train.Checkpoint:
    """The object that is saved; `Checkpoint` is the public trackable that takes any attribute."""
    normalise = _normalisation(model)

    @tf.function(autograph=False)
    def call(images: tf.Tensor, training: bool = False) -> Any:
        outputs = model(normalise(images), training=training)
        # Under mixed precision maps come out in bfloat16, which few clients read.
        return tf.nest.map_structure(lambda x: tf.cast(x, tf.float32), outputs)

    # Only functions traced here exist in the file; the Python argument becomes two of them.
    for training in (False, True):
        call.get_concrete_function(tf.TensorSpec((None, *image_shape), name="images"), training=training)

    module = tf.train.Checkpoint()
    # `.value` is TensorFlow's variable. Keras' wrapper around it would be stored as well, as a second copy.
    module.variables = [variable.value for variable in model.variables]
    module.trainable_variables = [variable.value for variable in model.trainable_variables]
    module.regularization_losses = _regularization_losses(model)
    module.__call__ = call
    return module


def _serving_function(module: tf.train.Checkpoint, spec: tf.TensorSpec, name: str) -> Callable[..., Any]:
    """The signature: images of `spec` -> dictionary of outputs, in inference."""

    @tf.function(input_signature=[spec], autograph=False)
    def serve(images: tf.Tensor) -> dict[str, tf.Tensor]:
        outputs = module.__call__(images, training=False)
        return outputs if isinstance(outputs, dict) else {name: outputs}

    return serve


def _normalisation(model: keras.Model) -> Callable[[tf.Tensor], tf.Tensor]:
    """(images - mean) / std with the values that the model carries.

    Raises:
        ValueError: the values are for another number of channels.
    """
    spec, channels = _config(model).get("preprocessing"), _image_shape(model)[-1]
    if not spec:
        return lambda images: images
    mean, std = (np.asarray(spec[name], np.float32) for name in ("mean", "std"))
    for name, values in (("mean", mean), ("std", std)):
        if values.size not in (1, channels):
            raise ValueError(
                f"The preprocessing of {model.name!r} has {name} {values.tolist()} for images of {channels} channels; "
                "it must have one value a channel."
            )
    # The same two operations as `keras_nest.EvalPreprocessing`, so that the results are the same to the last bit.
    return lambda images: (images - mean) / std


def _regularization_losses(model: keras.Model) -> list[Callable[..., Any]]:
    """One function without arguments for every variable with a regularizer, as TF-Hub's layer expects."""

    def loss(variable: keras.Variable) -> Callable[..., Any]:
        return tf.function(lambda: variable.regularizer(variable.value), input_signature=[])

    return [loss(variable) for variable in model.trainable_variables if variable.regularizer]


def _config(model: keras.Model) -> dict[str, Any]:
    """Arguments of a model of this package; empty for other models."""
    return getattr(model, "config", {})


def _output_name(model: keras.Model) -> str:
    return "embedding" if _config(model).get("num_classes") == 0 else "logits"


def _image_shape(model: keras.Model) -> tuple[int, int, int]:
    """Height, width and channels of the model's input.

    Raises:
        ValueError: there is not exactly one input, or it is not an image of fixed size.
    """
    shapes = [tuple(x.shape) for x in model.inputs] if model.inputs else []
    if len(shapes) != 1 or len(shapes[0]) != 4 or None in shapes[0][1:]:
        raise ValueError(
            f"The model {model.name!r} has inputs of shape {shapes}; it must have a single one (None, height, width, "
            "channels) with fixed sizes to be exported."
        )
    return shapes[0][1:]


def _check_outputs(model: keras.Model) -> None:
    # A sequence has no names for the signature to give.
    if isinstance(model.output, (list, tuple)):
        raise ValueError(
            f"The model {model.name!r} has a list of {len(model.output)} outputs; it must have a single one or a "
            "dictionary of them to be exported."
        )
