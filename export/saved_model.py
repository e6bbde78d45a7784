"""Keras models to reusable SavedModels."""

import pathlib
from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from export.module import image_shape, output_name, reusable_object
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
    module = reusable_object(model)
    with atomic_output(path, overwrite) as partial:
        spec = tf.TensorSpec((batch_size, *image_shape(model)), name="images")
        serve = _serving_function(module, spec, output_name(model))
        tf.saved_model.save(module, partial, signatures={"serving_default": serve})
    return pathlib.Path(path)


def _serving_function(module: tf.train.Checkpoint, spec: tf.TensorSpec, name: str) -> Callable[..., Any]:
    """The signature: images of `spec` -> dictionary of outputs, in inference."""

    @tf.function(input_signature=[spec], autograph=False)
    def serve(images: tf.Tensor) -> dict[str, tf.Tensor]:
        outputs = module.__call__(images, training=False)
        return outputs if isinstance(outputs, dict) else {name: outputs}

    return serve
