"""Exported models that classify, as predictors: SavedModels and TFLite files, those of `export` and others."""

import dataclasses
import io
import logging
import pathlib
import zipfile
from typing import Any

import numpy as np
import tensorflow as tf

from keras_nest.class_names import check_class_names, read_class_names
from keras_nest.exported import ASSETS, LABELS, PREPROCESSING, VALUES
from keras_nest.places import Place
from keras_nest.predict.predictor import Images, Predictor, softmax, stretched
from keras_nest.preprocessing import EvalPreprocessing
from keras_nest.processes import check_process
from keras_nest.targets import REGRESSION, SINGLE_LABEL
from keras_nest.tflite import TFLiteModel
from keras_nest.untrusted.archive import open_archive
from keras_nest.untrusted.json_text import parse_object

_LOGGER = logging.getLogger(__name__)
_ANSWERS = ("probabilities", VALUES)
_LONGEST_TEXT = 10_000_000  # bytes


def open_saved_model(path: Place) -> Predictor:
    """Opens a SavedModel; what `export` did not write needs one input of images and one output of logits.

    Raises:
        ValueError: it is no classifier of images.
        RuntimeError: this process was forked from one that had opened a model.
    """
    check_process()
    _tell_of_programs(path)
    try:
        signatures = tf.saved_model.load(str(path)).signatures
    except Exception as error:  # what TensorFlow raises about damaged ones is listed nowhere
        reason = " ".join(str(error).split("\n")[0].split()) or type(error).__name__
        raise ValueError(f"{path} cannot be read as a SavedModel: {reason}") from None
    files = signatures.get("serving_bytes")
    outputs = files.structured_outputs if files is not None else {}
    answer = next((name for name in _ANSWERS if name in outputs), None)
    predictor = _of_files(files, answer) if answer else _of_pixels(path, signatures.get("serving_default"))
    labels = path / ASSETS / LABELS
    if not labels.is_file():
        return predictor
    return dataclasses.replace(predictor, class_names=read_class_names(labels, predictor.num_classes))


def _tell_of_programs(path: Place) -> None:
    """Says what a SavedModel can do; of one's own, too, since nothing tells them apart."""
    _LOGGER.warning(
        "%s is a SavedModel, which is a program: what it does when it is opened or run, such as reading and writing "
        "files, is up to whoever made it. Open none that you would not run.",
        path,
    )


def _of_files(serve: Any, answer: str) -> Predictor:
    """The module prepares images itself, as the evaluation of its model does."""

    def compute(images: Images) -> np.ndarray:
        # PNG keeps every pixel.
        files = tf.stack([tf.io.encode_png(image) for image in images])
        try:
            return serve(image_bytes=files)[answer].numpy()
        except tf.errors.InvalidArgumentError as error:
            raise ValueError(f"The SavedModel refuses an image: {error.message.splitlines()[0]}") from None

    task = REGRESSION if answer == VALUES else SINGLE_LABEL
    return Predictor(compute, serve.structured_outputs[answer].shape[-1], task=task)


def _of_pixels(path: Place, serve: Any) -> Predictor:
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
    if output == VALUES or outputs[output].shape[-1] == 1:
        raise ValueError(
            f"{path} gives one number, and does not say whether that is a probability, or what of; predict needs its "
            ".keras file."
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


def open_tflite(path: Place) -> Predictor:
    """Opens a TFLite file with `images` in and `logits`, `probabilities` or `values` out.

    Labels and preprocessing are the files that are packed into it.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no model that classifies.
    """
    model = TFLiteModel(path)
    inside = _files_inside(path)
    outputs = model(np.zeros((1, *model.input_shape), np.float32))
    scores = next((name for name in (*_ANSWERS, "logits") if name in outputs), None)
    if scores is None:
        raise ValueError(f"{path} gives {', '.join(outputs)}; predict needs a file that gives logits or probabilities.")
    task = REGRESSION if scores == VALUES else SINGLE_LABEL
    if scores == "logits" and outputs[scores].shape[-1] == 1:
        raise ValueError(
            f"{path} gives one logit, and does not say what of; export the model with --activation sigmoid, or ask its "
            ".keras file."
        )
    height, width, channels = model.input_shape
    num_classes = outputs[scores].shape[-1]
    prepare, names = stretched((height, width), channels), None
    if PREPROCESSING in inside:
        prepare = _preprocessing(path, inside[PREPROCESSING])
    if LABELS in inside:
        names = check_class_names(inside[LABELS].rstrip("\n").split("\n"), num_classes, f"{path} has")

    def probabilities(images: Images) -> np.ndarray:
        given = model(np.asarray(prepare(list(images))))[scores]
        return softmax(given) if scores == "logits" else given

    return Predictor(probabilities, num_classes, names, channels, task)


def _files_inside(path: Place) -> dict[str, str]:
    """Name -> text of what is packed behind the model, of that what is known here."""
    file = path if isinstance(path, pathlib.Path) else io.BytesIO(path.read_bytes())
    if not zipfile.is_zipfile(file):
        return {}
    try:
        with file if isinstance(file, io.BytesIO) else file.open("rb") as opened, open_archive(opened) as archive:
            members = {name: archive.getinfo(name) for name in (PREPROCESSING, LABELS) if name in archive.namelist()}
            if large := [name for name, member in members.items() if member.file_size > _LONGEST_TEXT]:
                raise ValueError(f"{large[0]} in it is too large")
            return {name: archive.read(member).decode() for name, member in members.items()}
    except ValueError as error:
        raise ValueError(f"{path} holds files that cannot be read: {error}.") from None


def _preprocessing(path: Place, text: str) -> EvalPreprocessing:
    try:
        return EvalPreprocessing(**parse_object(text))
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path} holds a {PREPROCESSING} that cannot be read: {error}.") from None
