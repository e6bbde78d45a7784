"""What models give to TFLite files: their functions, inputs to compare on, and what belongs to them."""

import json
from collections.abc import Iterable, Sequence

import keras
import numpy as np
import tensorflow as tf

from keras_nest.class_names import check_class_names
from keras_nest.export.decoding import outside_preprocessing
from keras_nest.export.inference import inference
from keras_nest.export.module import image_shape, output_name
from keras_nest.export.tflite_files import TFLiteSource
from keras_nest.export.tflite_report import sample_images
from keras_nest.exported import LABELS, PREPROCESSING, VALUES
from keras_nest.models.answers import is_classifier, resolve_activation

_ROUNDING = 1e-3


def image_source(
    model: keras.Model,
    batch_size: int,
    images: np.ndarray | None = None,
    class_names: Sequence[str] | None = None,
    activation: str | None = None,
) -> TFLiteSource:
    """A model of images; a classifier gives probabilities, unless it is told not to.

    Args:
        model: with one image input, and one output or a dictionary of outputs.
        batch_size: images at a time.
        images: float32 (N, H, W, C) in [0, 1] to compare on; None takes parts of photographs.
        class_names: in the order of the logits.
        activation: as `to_tflite` takes it.

    Raises:
        ValueError: images of another shape or range, not as many names as logits, or a model that cannot be exported.
    """
    shape, files = image_shape(model), _files(model, class_names)
    samples = sample_images(shape) if images is None else _checked(images, "images", shape)
    spec = tf.TensorSpec((batch_size, *shape), name="images")
    if activation is None and is_classifier(model) and output_name(model) == "logits":
        activation = resolve_activation(model)
    return TFLiteSource(model.name, *inference(model, activation), spec, samples, files)


def _files(model: keras.Model, class_names: Sequence[str] | None) -> dict[str, str]:
    """What a user needs beside the network: class names, if there are scores of them, and how images are prepared."""
    files = {}
    has_scores = not isinstance(model.output, dict) and output_name(model) not in ("embedding", VALUES)
    if class_names is not None and has_scores:
        # Counted as readers will: one a line.
        lines = "\n".join(class_names).split("\n")
        files[LABELS] = "\n".join(check_class_names(lines, model.output.shape[-1]))
    if outside := outside_preprocessing(model):
        files[PREPROCESSING] = json.dumps(outside)
    return files


def calibration_batches(representative: Iterable[np.ndarray], shape: Sequence[int]) -> list[np.ndarray]:
    """Batches of the file's own size; what is left over at the end begins again with the first images.

    Args:
        representative: float32 batches (any, H, W, C) in [0, 1].
        shape: (batch size, H, W, C) of the file.

    Raises:
        ValueError: there are none, or of another shape or range.
    """
    batch_size, shape = shape[0], tuple(shape[1:])
    batches = [_checked(np.asarray(batch), "representative", shape) for batch in representative]
    if not batches:
        raise ValueError("representative has no images; full int8 needs about 100.")
    images = np.concatenate(batches)
    # The range of the input then is all of [0, 1], so that its 8 bits are those of a picture.
    images[0, 0, 0, 0], images[0, -1, -1, -1] = 0, 1
    count = -(-len(images) // batch_size)
    return np.split(np.resize(images, (count * batch_size, *shape)), count)


def _checked(images: np.ndarray, name: str, shape: tuple[int, ...]) -> np.ndarray:
    """The images, if they are float32 (N, H, W, C) in [0, 1] but for the rounding of a resize."""
    if images.shape[1:] != shape or not len(images) or images.dtype != np.float32:
        height, width, channels = shape
        raise ValueError(
            f"{name} has the shape {images.shape} and the dtype {images.dtype}; it must be float32 "
            f"(N, {height}, {width}, {channels})."
        )
    if images.min() < -_ROUNDING or images.max() > 1 + _ROUNDING:
        raise ValueError(f"{name} has values from {images.min():g} to {images.max():g}; they must lie in [0, 1].")
    return np.clip(images, 0, 1)
