"""SavedModels that classify: those of `export`, and others."""

import dataclasses
import pathlib
from typing import Any

import numpy as np
import tensorflow as tf

from keras_nest.class_names import read_class_names
from keras_nest.predict.predictor import Images, Predictor, softmax, stretched

_LABELS = "assets/labels.txt"


def open_directory(path: pathlib.Path) -> Predictor:
    """Opens a SavedModel.

    Raises:
        ValueError: it is no classifier of images.
    """
    signatures = tf.saved_model.load(str(path)).signatures
    files = signatures.get("serving_bytes")
    is_ours = files is not None and "probabilities" in files.structured_outputs
    predictor = _of_files(files) if is_ours else _of_pixels(path, signatures.get("serving_default"))
    if not (path / _LABELS).is_file():
        return predictor
    return dataclasses.replace(predictor, class_names=read_class_names(path / _LABELS, predictor.num_classes))


def _of_files(serve: Any) -> Predictor:
    """The module prepares images itself, as the evaluation of its model does."""

    def probabilities(images: Images) -> np.ndarray:
        # PNG keeps every pixel.
        files = tf.stack([tf.io.encode_png(image) for image in images])
        try:
            return serve(image_bytes=files)["probabilities"].numpy()
        except tf.errors.InvalidArgumentError as error:
            raise ValueError(f"The SavedModel refuses an image: {error.message.splitlines()[0]}") from None

    return Predictor(probabilities, serve.structured_outputs["probabilities"].shape[-1])


def _of_pixels(path: pathlib.Path, serve: Any) -> Predictor:
    """The default signature, if it has one input of images and one output of logits."""
    inputs = serve.structured_input_signature[1] if serve else {}
    outputs = serve.structured_outputs if serve else {}
    output = "logits" if "logits" in outputs else next(iter(outputs), "")
    images = [spec.shape for spec in inputs.values() if spec.shape.rank == 4 and None not in spec.shape[1:]]
    if len(inputs) != 1 or not images or outputs[output].shape.rank != 2 or output == "embedding":
        raise ValueError(
            f"{path} is no SavedModel of a classifier: serving_default must take images (B, H, W, 3) of a fixed size "
            "and give logits (B, K)."
        )
    (name,), (_, height, width, channels) = inputs, images[0]
    if channels not in (1, 3):
        raise ValueError(
            f"{path} takes images of {channels} channels and does not say how; predict needs its .keras file."
        )
    prepare = stretched((height, width), channels)

    def compute(images: Images) -> np.ndarray:
        return softmax(serve(**{name: prepare(list(images))})[output])

    return Predictor(compute, outputs[output].shape[-1], channels=channels)
