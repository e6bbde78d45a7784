"""Keras models to TFLite files, each with its labels inside and a report beside it."""

import contextlib
import json
import os
import pathlib
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from export.inference import Inference, inference
from export.module import config_of, image_shape, output_name
from export.tflite_graph import replace_negation
from export.tflite_metadata import LABELS, add_metadata
from export.tflite_report import Reporter, sample_images
from keras_nest.files import atomic_output
from keras_nest.hints import did_you_mean
from keras_nest.trained import check_class_names

# In the order in which files are written: the report compares sizes with the first.
PRECISIONS = ("float32", "float16", "dynamic_int8", "int8")
PREPROCESSING = "preprocessing.json"
_SIGNATURE = "serving_default"
_ROUNDING = 1e-3


def to_tflite(
    model: keras.Model,
    directory: str | os.PathLike[str],
    precisions: Sequence[str] = ("float32", "float16", "dynamic_int8"),
    *,
    batch_size: int = 1,
    representative: Iterable[np.ndarray] | None = None,
    class_names: Sequence[str] | None = None,
    overwrite: bool = False,
    images: np.ndarray | None = None,
) -> list[dict[str, Any]]:
    """Writes TFLite files, `<precision>.tflite`, and what each is worth, `<precision>.json`.

    The files need built-in operations only. Their signature `serving_default` takes `images`, float32 (B, H, W, C) in
    [0, 1] of the model's own size, and gives `logits`, `embedding`, or maps under the model's own names, as the
    SavedModel does. The normalisation is inside.

    * float32: the numbers of the Keras model.
    * float16: the weights have half the size; the computation is the same.
    * dynamic_int8: the weights have a quarter of the size, and matrix products are computed in 8 bits: the fastest on
      processors.
    * int8: for accelerators that compute in 8 bits only; on processors it is slower than the others. Its input is the
      pixels as they lie in memory, uint8 in 0..255, and its outputs are uint8 with the scale and zero point in the
      file; `TFLiteModel` takes and gives floats all the same.

    Args:
        model: a built model with one image input, and one output or a dictionary of outputs.
        directory: where the files shall lie; each appears complete or not at all.
        precisions: which of `PRECISIONS`.
        batch_size: images at a time, fixed in the file.
        representative: float32 batches (any, H, W, C) in [0, 1] for "int8", which takes the range of every tensor from
            them: 100 images as the model will meet them are enough. They are read once and kept in memory.
        class_names: in the order of the logits; they become `labels.txt` in the file. Beside it lies
            `preprocessing.json` if the model knows its preprocessing: arguments of `keras_nest.EvalPreprocessing`.
        overwrite: replace what lies there.
        images: float32 (N, H, W, C) in [0, 1] for the report; parts of two photographs by default.

    Returns:
        The reports, see `Reporter.describe`, with `precision` and `share_of_float32`, the size in terms of
        float32.tflite (None if it is not asked for).

    Raises:
        ValueError: an unknown precision, "int8" without images, a batch below 1, not as many class names as logits,
            images of another shape or range, or a model that cannot be exported. Nothing is written then.
        FileExistsError: a file lies there and `overwrite` is false.
        NotADirectoryError: `directory` is a file.
        PermissionError: the directory cannot be written to.
    """
    shape = image_shape(model)
    chosen = _check_precisions(precisions, representative)
    if batch_size < 1:
        raise ValueError(f"batch_size is {batch_size}; it must be at least 1.")
    files = _files(model, class_names)
    _check_targets(pathlib.Path(directory), chosen, overwrite)
    wanted = representative if "int8" in chosen else None
    calibration = [] if wanted is None else _calibration(wanted, shape, batch_size)
    images = sample_images(shape) if images is None else _checked(images, "images", shape)
    module, call = inference(model)
    reporter = Reporter(call, images)
    rows: list[dict[str, Any]] = []
    with _saved(module, call, tf.TensorSpec((batch_size, *shape), name="images")) as folder:
        for precision in chosen:
            path = pathlib.Path(directory, f"{precision}.tflite")
            content = add_metadata(_convert(folder, precision, calibration), model.name, files)
            with atomic_output(path, overwrite) as partial:
                partial.write_bytes(content)
            rows.append(_report(reporter, precision, path, rows))
            with atomic_output(path.with_suffix(".json"), overwrite) as partial:
                partial.write_text(json.dumps(rows[-1], indent=2) + "\n", "utf-8")
    return rows


def _report(reporter: Reporter, precision: str, path: pathlib.Path, before: list[dict[str, Any]]) -> dict[str, Any]:
    facts = {"precision": precision, **reporter.describe(path)}
    first = (before or [facts])[0]
    share = facts["bytes"] / first["bytes"] if first["precision"] == PRECISIONS[0] else None
    return {**facts, "share_of_float32": share}


@contextlib.contextmanager
def _saved(module: tf.train.Checkpoint, call: Inference, images: tf.TensorSpec) -> Iterator[str]:
    """A SavedModel with a fixed batch: with an open one, no file is one partition."""
    serve = tf.function(call, input_signature=[images], autograph=False)
    with tempfile.TemporaryDirectory() as folder:
        tf.saved_model.save(module, folder, signatures={_SIGNATURE: serve})
        replace_negation(folder)
        yield folder


def _convert(folder: str, precision: str, calibration: list[np.ndarray]) -> bytes:
    # Conversion from the Keras model or from a function loses the weights or the names.
    converter = tf.lite.TFLiteConverter.from_saved_model(folder, signature_keys=[_SIGNATURE])
    # The default target is built-in operations only: anything else makes the conversion fail.
    if precision != "float32":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if precision == "float16":
        converter.target_spec.supported_types = [tf.float16]
    if precision == "int8":
        converter.representative_dataset = lambda: ([batch] for batch in calibration)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = converter.inference_output_type = tf.uint8
    return converter.convert()


def _check_precisions(precisions: Sequence[str], representative: Any) -> list[str]:
    """The wanted precisions, each once, in the order of `PRECISIONS`."""
    for precision in precisions:
        if precision not in PRECISIONS:
            raise ValueError(f"precision {precision!r} is unknown; {did_you_mean(precision, PRECISIONS)}")
    if not precisions:
        raise ValueError(f"No precision is asked for; {did_you_mean('', PRECISIONS)}")
    if "int8" in precisions and representative is None:
        raise ValueError("Full int8 needs representative images; give representative=…, or ask for dynamic_int8.")
    return [precision for precision in PRECISIONS if precision in precisions]


def _files(model: keras.Model, class_names: Sequence[str] | None) -> dict[str, str]:
    """What a user needs beside the network: class names, if there are logits, and how images are prepared."""
    files = {}
    if class_names is not None and not isinstance(model.output, dict) and output_name(model) == "logits":
        # Counted as readers will: one a line.
        lines = "\n".join(class_names).split("\n")
        files[LABELS] = "\n".join(check_class_names(lines, model.output.shape[-1]))
    height, width, channels = image_shape(model)
    if spec := config_of(model).get("preprocessing"):
        # The normalisation is inside.
        outside = {**spec, "mean": [0.0] * channels, "std": [1.0] * channels}
        files[PREPROCESSING] = json.dumps({"image_size": [height, width], **outside})
    return files


def _check_targets(directory: pathlib.Path, precisions: Sequence[str], overwrite: bool) -> None:
    """Refuses what would fail after minutes of work."""
    if directory.exists() and not directory.is_dir():
        raise NotADirectoryError(f"{directory} is a file; it must be a directory for the TFLite files.")
    targets = [directory / f"{precision}{suffix}" for precision in precisions for suffix in (".tflite", ".json")]
    for target in targets:
        if target.exists() and not overwrite:
            raise FileExistsError(f"{target} exists already; pass overwrite=True (--overwrite) to replace it.")


def _calibration(
    representative: Iterable[np.ndarray], shape: tuple[int, int, int], batch_size: int
) -> list[np.ndarray]:
    """Batches of the file's own size; what is left over at the end begins again with the first images."""
    batches = [_checked(np.asarray(batch), "representative", shape) for batch in representative]
    if not batches:
        raise ValueError("representative has no images; full int8 needs about 100.")
    images = np.concatenate(batches)
    # The range of the input then is all of [0, 1], so that its 8 bits are those of a picture.
    images[0, 0, 0, 0], images[0, -1, -1, -1] = 0, 1
    count = -(-len(images) // batch_size)
    return np.split(np.resize(images, (count * batch_size, *shape)), count)


def _checked(images: np.ndarray, name: str, shape: tuple[int, int, int]) -> np.ndarray:
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
