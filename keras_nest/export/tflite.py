"""Keras models to TFLite files, each with its labels inside and a report beside it."""

import dataclasses
import os
from collections.abc import Iterable, Sequence
from typing import Any

import keras
import numpy as np

from keras_nest.backends import require_tensorflow
from keras_nest.export.exporters import exporter_for
from keras_nest.export.network import TO_A_FILE
from keras_nest.export.tflite_files import CALIBRATED, PRECISIONS, check_targets, write_files
from keras_nest.export.tflite_sources import calibration_batches
from keras_nest.export.tflite_static import require_quantizer
from keras_nest.export.wrapped import AUTO, Preprocessing
from keras_nest.hints import did_you_mean
from keras_nest.places import as_place


def to_tflite(
    model: keras.Model,
    directory: str | os.PathLike[str],
    precisions: Sequence[str] = ("float32", "float16", "dynamic_int8"),
    *,
    batch_size: int | Sequence[int] = 1,
    representative: Iterable[np.ndarray] | None = None,
    class_names: Sequence[str] | None = None,
    overwrite: bool = False,
    images: np.ndarray | None = None,
    vocab: str | os.PathLike[str] | None = None,
    head: str = "classifier",
    activation: str | None = None,
    preprocessing: Preprocessing = AUTO,
) -> list[dict[str, Any]]:
    """Writes TFLite files, `<precision>.tflite`, and what each is worth, `<precision>.json`.

    The files need built-in operations only. Their signature `serving_default` takes `images`, float32 (B, H, W, C) in
    [0, 1] of the model's own size, and gives `probabilities` of a classifier (or `logits`, if they are asked for),
    `embedding`, or maps under the model's own names, as the SavedModel does. The normalization is inside. Of a
    classifier there is one output and no second one: ImageClassifier of MediaPipe takes each for a head of its own,
    and those of logits would come first.

    * float32: the numbers of the Keras model.
    * float16: the weights have half the size; the computation is the same.
    * dynamic_int8: the weights have a quarter of the size, and matrix products are computed in 8 bits: the fastest on
      processors.
    * int8: for accelerators that compute in 8 bits only; on processors it is slower than the others. Its input is the
      pixels as they lie in memory, uint8 in 0..255, and its outputs are uint8 with the scale and zero point in the
      file; `TFLiteModel` takes and gives floats all the same.
    * static_int8: as dynamic_int8, but the scales of what goes into matrix products and convolutions are known
      beforehand, from representative images, and there is none to compute for each image. Images are float32 in [0, 1].
      Written by the package ai-edge-quantizer.

    Of a LiT, the files of the image tower lie in `image`, and those of the text tower, with its vocabulary, in `text`;
    int8 and static_int8 are for neither. The latter take `tokens`, int32 (B, N); both give `embedding` (B, C), of
    length one, and have the temperature in `similarity.json` inside and in the report.

    Args:
        model: a built model with one image input, and one output or a dictionary of outputs; or a LiT.
        directory: where the files shall lie, here or at an address (gs://…); each appears complete or not at all.
        precisions: which of `PRECISIONS`.
        batch_size: images at a time, fixed in the file. Several numbers give the file a signature for each, which share
            the weights: that of the first is `serving_default`, and those of the others are `serving_default_8` and the
            like. MediaPipe takes files of one batch size.
        representative: float32 batches (any, H, W, C) in [0, 1] for "int8" and "static_int8", which take the range of
            every tensor from them: 100 images as the model will meet them are enough. They are read once and kept in
            memory.
        class_names: in the order of the logits; they become `labels.txt` in the file. None takes the names of ImageNet
            for a head that was published. Beside it lies
            `preprocessing.json` if the model knows its preprocessing: arguments of `keras_nest.EvalPreprocessing`.
        overwrite: replace what lies there.
        images: float32 (N, H, W, C) in [0, 1] for the report; parts of two photographs by default.
        vocab: vocabulary file of LiT's text tower.
        head: "classifier", or "none" for the model without its head, whose output is `embedding`: for ImageEmbedder of
            MediaPipe, and for searches.
        activation: from logits to probabilities, which clients with a score threshold expect: "softmax" or "sigmoid";
            None takes the model's `classifier_activation`, or that of the loss it was compiled with, or else
            "softmax". "none" is for a file that gives logits, and for a model of yours whose outputs are no classes.
        preprocessing: as `to_saved_model` takes it.

    Returns:
        The reports, see `Reporter.describe`, with `precision` and `share_of_float32`, the size in terms of
        float32.tflite (None if it is not asked for); of a LiT with `tower` and `temperature` besides.

    Raises:
        ValueError: an unknown precision, "int8" or "static_int8" without images or with several batch sizes, a batch
            size below 1 or named twice, not as many class names as logits, images of another shape or range, a
            vocabulary that is missing or does not fit, or a model that cannot be exported, or Keras does not run on
            TensorFlow. Nothing is written then.
        FileExistsError: a file lies there and `overwrite` is false.
        NotADirectoryError: `directory` is a file.
        OSError: the directory cannot be written to.
        ModuleNotFoundError: ai-edge-quantizer, which static_int8 needs, is missing; or tensorflow-text, which the
            tokenizer of a LiT needs.
    """
    require_tensorflow("export.to_tflite", TO_A_FILE.format("tflite"))
    place = as_place(directory)
    exporter = exporter_for(model, preprocessing).up_to(head)
    exporter.check_tflite(precisions, activation)
    chosen = _check_precisions(precisions, representative)
    first, *others = _check_batches(batch_size, chosen)
    folders = [place / part for part in exporter.TFLITE_FOLDERS]
    for folder in folders:
        check_targets(folder, chosen, overwrite)
    sources = exporter.tflite_sources(first, images, class_names, activation, vocab)
    calibration: list[np.ndarray] = []
    if representative is not None and any(precision in CALIBRATED for precision in chosen):
        calibration = calibration_batches(representative, sources[0].spec.shape)
    written = zip((dataclasses.replace(source, batches=tuple(others)) for source in sources), folders, strict=True)
    return [row for part in written for row in write_files(*part, chosen, calibration, overwrite)]


def _check_batches(batch_size: int | Sequence[int], precisions: Sequence[str]) -> list[int]:
    """The batch sizes, in the order in which they are asked for."""
    sizes = list(batch_size) if isinstance(batch_size, Sequence) else [batch_size]
    words = ", ".join(map(str, sizes)) or "empty"
    if not sizes or min(sizes) < 1:
        raise ValueError(f"batch_size is {words}; it must be at least 1.")
    if len(set(sizes)) < len(sizes):
        raise ValueError(f"batch_size is {words}; name each number once.")
    calibrated = [precision for precision in precisions if precision in CALIBRATED]
    if len(sizes) > 1 and calibrated:
        raise ValueError(f"{calibrated[0]} files have one batch size; name one, or write other precisions.")
    return sizes


def _check_precisions(precisions: Sequence[str], representative: Any) -> list[str]:
    """The wanted precisions, each once, in the order of `PRECISIONS`."""
    for precision in precisions:
        if precision not in PRECISIONS:
            raise ValueError(f"precision {precision!r} is unknown; {did_you_mean(precision, PRECISIONS)}")
    if not precisions:
        raise ValueError(f"No precision is asked for; {did_you_mean('', PRECISIONS)}")
    for precision in CALIBRATED:
        if precision in precisions and representative is None:
            raise ValueError(
                f"{precision} needs representative images; give representative=… (--representative), or ask for "
                "dynamic_int8."
            )
    if "static_int8" in precisions:
        require_quantizer()
    return [precision for precision in PRECISIONS if precision in precisions]
