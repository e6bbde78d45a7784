"""Predictors of models of any kind: those that `open_model` opens, SavedModels and TFLite files."""

import contextlib
import dataclasses
import os
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_nest.class_names import read_class_names
from keras_nest.conversion.hugging_face import is_handle
from keras_nest.copies import cached
from keras_nest.exported import find_saved_model
from keras_nest.files import is_address
from keras_nest.graphs import compiled
from keras_nest.models.answers import task_of
from keras_nest.models.base import ImageModel
from keras_nest.models.configured import ConfiguredModel
from keras_nest.models.losses import ANSWERS
from keras_nest.models.outputs import is_linear
from keras_nest.models.user_model import way_to_classes
from keras_nest.opening import LoadedModel, loaded_model, open_model
from keras_nest.places import Place, as_place
from keras_nest.predict.exports import open_saved_model, open_tflite
from keras_nest.predict.predictor import Images, Predictor
from keras_nest.preprocessing import preprocessor
from keras_nest.targets import MULTI_LABEL, REGRESSION, SINGLE_LABEL

_ACTIVATIONS = {SINGLE_LABEL: keras.ops.softmax, MULTI_LABEL: keras.ops.sigmoid, REGRESSION: lambda values: values}


def predictor(
    model: keras.Model | str | os.PathLike[str],
    weights: str | os.PathLike[str] | None = None,
    labels: str | os.PathLike[str] | None = None,
    trust: bool = False,
) -> Predictor:
    """A model to ask about images: one at hand, or whatever `open_predictor` opens.

    It calls one graph, and prepares images as the model wants them: for one image or a few, ask it rather than
    `model.predict`, which sets up a pipeline in each call.

    >>> ask = keras_nest.predictor(model)
    >>> probabilities = ask([image])

    Args:
        model: a model of this package or one of yours around such, with the weights that it has then; or a source.
        weights: as for `open_predictor`, of a name.
        labels: file of class names, one a line; by default those of a published head, or those that lie with the file.
        trust: as for `open_predictor`.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no model that classifies, or carries no preprocessing; or there are not as many names as
            classes; or a model at hand is given weights.
    """
    if not isinstance(model, keras.Model):
        return open_predictor(model, weights, labels, trust)
    if weights is not None:
        raise ValueError(f"The model {model.name!r} is at hand with its weights; weights are for the name of a model.")
    return build_predictor(loaded_model(model, labels))


def open_predictor(
    source: str | os.PathLike[str],
    weights: str | os.PathLike[str] | None = None,
    labels: str | os.PathLike[str] | None = None,
    trust: bool = False,
) -> Predictor:
    """Opens a model to predict with.

    A SavedModel or TFLite file that `export` did not write gets the whole image, stretched to its size, in [0, 1], and
    what it gives is taken for logits. A SavedModel is a program: open none that you would not run.

    Args:
        source: as `keras_nest.open_model` takes it; or a directory with a SavedModel or with numbered versions of one
            (the newest is taken), or a `.tflite` file, local or at an address.
        weights: a checkpoint for the name of a model, as `create_model` takes it.
        labels: file of class names, one a line; by default those that lie with the model.
        trust: also read a .keras file that carries code.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is no model, or one that does not classify; or there are not as many names as classes.
    """
    return open_both(source, weights, labels, trust)[0]


def open_both(
    source: str | os.PathLike[str],
    weights: str | os.PathLike[str] | None = None,
    labels: str | os.PathLike[str] | None = None,
    trust: bool = False,
) -> tuple[Predictor, LoadedModel | None]:
    """`open_predictor`, and the Keras model that it asks; None for a SavedModel or a TFLite file."""
    exported = find_export(source, weights)
    if exported is None:
        loaded = open_model(source, weights, labels, trust)
        return build_predictor(loaded), loaded
    predictor = open_tflite(exported) if is_tflite(exported) else open_saved_model(exported)
    return (predictor if labels is None else name_classes(predictor, labels)), None


def find_export(source: str | os.PathLike[str], weights: str | os.PathLike[str] | None = None) -> Place | None:
    """What of a model lies there without Keras layers: a TFLite file, or the directory of a SavedModel; else None.

    Args:
        source: as `open_predictor` takes it.
        weights: likewise; with them it is a name.

    Returns:
        Its path; of what everybody may read in a bucket, that of the copy in the cache.

    Raises:
        ValueError: it is at an address that TensorFlow does not know.
        OSError: the TFLite file or SavedModel cannot be fetched.
    """
    if weights is not None or is_handle(source):
        return None
    place = as_place(source)
    if is_tflite(place):
        found: Place | None = place
    else:
        # What cannot be read may be something else, and who reads it says why it cannot.
        with contextlib.suppress(OSError) if is_address(source) else contextlib.nullcontext():
            found = find_saved_model(place)
    return as_place(cached(found)) if found else None


def is_tflite(path: Place) -> bool:
    """Whether it is a TFLite file by its name."""
    return path.suffix == ".tflite"


def name_classes(predictor: Predictor, labels: str | os.PathLike[str]) -> Predictor:
    """A predictor with the class names of a file, one a line.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: there are not as many names as classes.
    """
    return dataclasses.replace(predictor, class_names=read_class_names(labels, predictor.num_classes))


def build_predictor(loaded: LoadedModel) -> Predictor:
    """A Keras model with its preprocessing; probabilities are its own, or those of what it was trained for.

    Raises:
        ValueError: it takes no images, has no head, or carries no preprocessing.
    """
    is_other = isinstance(loaded.model, ConfiguredModel) and not isinstance(loaded.model, ImageModel)
    if is_other or not loaded.image_model.num_classes:
        model = loaded.model
        raise ValueError(f"The model {model.name!r} gives no classes; {way_to_classes(model)}.")
    model = loaded.image_model
    if len(model.inputs) != 1:
        raise ValueError(f"The model {model.name!r} takes {len(model.inputs)} inputs; it must take images alone.")
    # Of files that do not say it themselves, what lies beside them does.
    told = ANSWERS.get(str(loaded.config.get("loss")))
    task = told or task_of(model)
    # The softmax of a single logit is always 1.
    is_single_logit = task == SINGLE_LABEL and model.num_classes == 1
    prepare, activation = preprocessor(model), _ACTIVATIONS[MULTI_LABEL if is_single_logit else task]
    is_ours = isinstance(model, ImageModel)
    puts_out_logits = is_linear(model.output) if is_ours else "probabilities" not in model.endpoints
    inputs = tf.TensorSpec((None, *prepare.image_size, len(prepare.mean)), tf.float32)

    def answer(images: Any) -> Any:
        outputs = model(images, training=False)
        return activation(outputs) if puts_out_logits else outputs

    forward = compiled(answer, [inputs])

    def compute(images: Images) -> np.ndarray:
        return forward(prepare(list(images))).numpy()

    # A loss over each class for itself may have seen images of one class each, which lists would tell otherwise.
    if task == MULTI_LABEL and told is None:
        task = getattr(model, "task", SINGLE_LABEL)
    return Predictor(compute, model.num_classes, loaded.class_names, len(prepare.mean), task)
