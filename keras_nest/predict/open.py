"""Opens models from files of any kind."""

import dataclasses
import os
import pathlib

import keras
import numpy as np
import tensorflow as tf

from keras_nest.files import check_local
from keras_nest.models.outputs import is_linear
from keras_nest.predict import saved_model, tflite
from keras_nest.predict.predictor import Images, Predictor
from keras_nest.preprocessing import preprocessor
from keras_nest.trained import Trained, read_class_names, read_trained

_ACTIVATIONS = {"softmax": keras.ops.softmax, "sigmoid": keras.ops.sigmoid}


def open_predictor(
    source: str | os.PathLike[str],
    weights: str | None = None,
    labels: str | os.PathLike[str] | None = None,
    trust: bool = False,
) -> Predictor:
    """Opens a model.

    A SavedModel or TFLite file that `export` did not write gets the whole image, stretched to its size, in [0, 1], and
    what it gives is taken for logits. A SavedModel is a program: open none that you would not run.

    Args:
        source: a `.keras` file, a working directory of `train_keras.py`, a directory with a SavedModel or with numbered
            versions of one (the newest is taken), a `.tflite` file, or with `weights` the name of a model.
        weights: a checkpoint as `create_model` takes it.
        labels: file of class names, one a line; by default those that lie with the model.
        trust: also read a .keras file that carries code.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is no model, or one that does not classify; or there are not as many names as classes.
    """
    path = pathlib.Path(source)
    if weights is not None:
        return of_trained(read_trained(source, weights, labels, trust))
    if path.suffix != ".keras":
        check_local(source)
    if path.suffix == ".tflite":
        predictor = tflite.open_file(path)
    elif directory := saved_model.find(path):
        predictor = saved_model.open_directory(directory)
    else:
        return of_trained(read_trained(source, labels=labels, trust=trust))
    if labels is None:
        return predictor
    return dataclasses.replace(predictor, class_names=read_class_names(labels, predictor.num_classes))


def of_trained(trained: Trained) -> Predictor:
    """A Keras model with its preprocessing; probabilities are its own, or those of the loss it was trained with.

    Raises:
        ValueError: it has no head, or carries no preprocessing.
    """
    model = trained.model
    if not model.num_classes:
        raise ValueError(f"The model {model.name!r} gives no classes; predict needs one with a head.")
    prepare, activation = preprocessor(model), _ACTIVATIONS[trained.config.get("loss", "softmax")]
    puts_out_logits = is_linear(model.output)
    # Of any batch, so that it is traced once, whoever calls it first.
    inputs = tf.TensorSpec((None, *prepare.image_size, len(prepare.mean)), tf.float32)

    @tf.function(input_signature=[inputs])
    def forward(images: tf.Tensor) -> tf.Tensor:
        outputs = model(images, training=False)
        return activation(outputs) if puts_out_logits else outputs

    def compute(images: Images) -> np.ndarray:
        return forward(prepare(list(images))).numpy()

    return Predictor(compute, model.num_classes, trained.class_names, len(prepare.mean))
