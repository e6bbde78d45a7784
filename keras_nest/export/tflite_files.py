"""One function of a model, written as TFLite files with a report beside each."""

import contextlib
import dataclasses
import json
import pathlib
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from keras_nest.export.inference import Inference
from keras_nest.export.tflite_graph import rewrite
from keras_nest.export.tflite_metadata import add_metadata
from keras_nest.export.tflite_report import Reporter
from keras_nest.export.tflite_static import quantize_statically
from keras_nest.outputs import output_at
from keras_nest.places import Place

# In the order in which files are written: the report compares sizes with the first.
PRECISIONS = ("float32", "float16", "dynamic_int8", "int8", "static_int8")
# Those that take the range of tensors from images.
CALIBRATED = ("int8", "static_int8")
_SIGNATURE = "serving_default"


@dataclasses.dataclass(frozen=True)
class TFLiteSource:
    """What TFLite files are made of.

    Attributes:
        name: of the model.
        module: holds the variables.
        call: what the files compute.
        spec: its input under its name, with the batch that is fixed in the files.
        batches: others that they take as well, each with a signature of its own.
        samples: inputs (N, …) that the report compares on.
        files: what is packed into each file, text by name.
        facts: what the reports tell besides.
        beside: files that are copied to lie with them, by their new name.
    """

    name: str
    module: tf.train.Checkpoint
    call: Inference
    spec: tf.TensorSpec
    samples: np.ndarray
    files: Mapping[str, str] = dataclasses.field(default_factory=dict)
    facts: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    beside: Mapping[str, Place] = dataclasses.field(default_factory=dict)
    batches: Sequence[int] = ()


def batch_signature(size: int) -> str:
    """Name of the signature of a batch that is not the first; the converter puts them into alphabetical order."""
    return f"{_SIGNATURE}_{size}"


def write_files(
    source: TFLiteSource,
    directory: Place,
    precisions: Sequence[str],
    calibration: Sequence[np.ndarray] = (),
    overwrite: bool = False,
) -> list[dict[str, Any]]:
    """Writes `<precision>.tflite` and the report `<precision>.json`, each complete or not at all.

    Args:
        source: what they are made of.
        directory: where they shall lie, on this machine or at an address.
        precisions: some of `PRECISIONS`, in their order.
        calibration: batches of inputs for `CALIBRATED`.
        overwrite: replace what lies there.

    Returns:
        The reports.

    Raises:
        FileExistsError: a file lies there and `overwrite` is false.
        OSError: the directory cannot be written to.
    """
    for name, file in source.beside.items():
        content, place = file.read_bytes(), directory / name
        if not (place.is_file() and place.read_bytes() == content):
            with output_at(place, overwrite) as partial:
                partial.write_bytes(content)
    reporter = Reporter(source.call, source.samples)
    rows: list[dict[str, Any]] = []
    with saved(source.call, [source.spec], source.module, source.batches) as folder:
        for precision in precisions:
            path = directory / f"{precision}.tflite"
            converted = convert(folder, precision, calibration, source.batches)
            content = add_metadata(converted, source.name, source.files)
            with output_at(path, overwrite) as partial:
                partial.write_bytes(content)
                rows.append({**source.facts, **_report(reporter, precision, partial, rows), "file": path.name})
            with output_at(path.with_suffix(".json"), overwrite) as partial:
                partial.write_text(json.dumps(rows[-1], indent=2) + "\n", "utf-8")
    return rows


def check_targets(directory: Place, precisions: Sequence[str], overwrite: bool) -> None:
    """Refuses what would fail after minutes of work.

    Raises:
        FileExistsError: a file lies there and `overwrite` is false.
        NotADirectoryError: the directory is a file.
    """
    if directory.exists() and not directory.is_dir():
        raise NotADirectoryError(f"{directory} is a file; it must be a directory for the TFLite files.")
    targets = [directory / f"{precision}{suffix}" for precision in precisions for suffix in (".tflite", ".json")]
    for target in targets:
        if target.exists() and not overwrite:
            raise FileExistsError(f"{target} exists already; pass overwrite=True (--overwrite) to replace it.")


def _report(reporter: Reporter, precision: str, path: pathlib.Path, before: list[dict[str, Any]]) -> dict[str, Any]:
    facts = {"precision": precision, **reporter.describe(path)}
    first = (before or [facts])[0]
    share = facts["bytes"] / first["bytes"] if first["precision"] == PRECISIONS[0] else None
    return {**facts, "share_of_float32": share}


@contextlib.contextmanager
def saved(
    call: Callable[..., Any], inputs: Sequence[tf.TensorSpec], module: tf.train.Checkpoint, batches: Sequence[int] = ()
) -> Iterator[str]:
    """A function as a SavedModel that `convert` takes.

    Args:
        call: what is computed; gives outputs by name.
        inputs: under their names, with a fixed batch: with an open one, no file is one partition.
        module: holds the variables.
        batches: others that it shall take as well.

    Yields:
        The folder, which is gone afterwards.
    """
    specs = {_SIGNATURE: inputs}
    for size in batches:
        of_size = (tf.TensorSpec((size, *spec.shape[1:]), spec.dtype, spec.name) for spec in inputs)
        specs[batch_signature(size)] = list(of_size)
    signatures = {name: tf.function(call, input_signature=spec, autograph=False) for name, spec in specs.items()}
    with tempfile.TemporaryDirectory() as folder:
        tf.saved_model.save(module, folder, signatures=signatures)
        rewrite(folder)
        yield folder


def convert(folder: str, precision: str, calibration: Sequence[np.ndarray] = (), batches: Sequence[int] = ()) -> bytes:
    """A SavedModel as the content of a TFLite file.

    Args:
        folder: the SavedModel, with the signature serving_default and a batch that is fixed.
        precision: one of `PRECISIONS`.
        calibration: batches of inputs for `CALIBRATED`.
        batches: that it takes beside the first, of a file that is not calibrated; weights are shared.
    """
    if precision == "static_int8":
        return quantize_statically(convert(folder, "float32"), calibration)
    # Conversion from the Keras model or from a function loses the weights or the names.
    keys = [_SIGNATURE, *map(batch_signature, batches)]
    converter = tf.lite.TFLiteConverter.from_saved_model(folder, signature_keys=keys)
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
