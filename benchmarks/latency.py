"""Latency of one image on the processor: the Keras model, its SavedModel and its TFLite files.

Every candidate runs with 1 and with 2 threads. TensorFlow takes its number of threads once, so each number has a
process of its own, in which all candidates of all models take turns. Bars, with 2 threads: TFLite in float32 takes at
most 0.75 of the SavedModel's time, and dynamic int8 at most 0.55 of TFLite's float32.
"""

import argparse
import os
import pathlib
import tempfile
from collections.abc import Callable, Mapping, Sequence
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf

import keras_nest
from benchmarks import timing
from keras_nest import export
from keras_nest.export.tflite import to_tflite
from keras_nest.export.tflite_report import sample_images
from keras_nest.files import local_path
from keras_nest.tflite import TFLiteModel

# Those of TensorFlow's own converter; benchmarks.tflite_recipes has static_int8, too.
PRECISIONS = ("float32", "float16", "dynamic_int8", "int8")
MODELS = ("nest_tiny_s196_224", "ViT-S_16")
THREADS = (1, 2)
KERAS, SAVED_MODEL = "Keras predict", "SavedModel"
FLOAT32, DYNAMIC_INT8 = "TFLite float32", "TFLite dynamic_int8"
# Candidate, the column and name of what it is compared with, and the most it may take of that.
BARS = ((FLOAT32, "x SavedModel", SAVED_MODEL, 0.75), (DYNAMIC_INT8, "x float32", FLOAT32, 0.55))
# Names of models and the fields they are created with.
Models = Mapping[str, Mapping[str, Any]]
Reports = Mapping[tuple[str, str], Mapping[str, Any]]


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the benchmark from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=MODELS, help="names of keras_nest.list_models()")
    parser.add_argument("--runs", type=int, default=21, help="interleaved rounds")
    parser.add_argument("--results", type=local_path, default=pathlib.Path("results"), help="directory of the CSV file")
    parser.add_argument("--quick", action="store_true", help="a toy-size run that shows that it works")
    options = parser.parse_args(arguments)
    models: Models = {"nest_tiny_s16_32": timing.TOY_NEST} if options.quick else {name: {} for name in options.models}
    with tempfile.TemporaryDirectory() as folder:
        reports = write_files(models, pathlib.Path(folder))
        runs = 2 if options.quick else options.runs
        tables = [timing.in_own_process(measure, models, pathlib.Path(folder), threads, runs) for threads in THREADS]
    rows = [{**row, **_facts(reports, row)} for table in tables for row in table]
    note = f"load: of other processes, on {os.cpu_count()} processors"
    timing.report("Latency of one image", rows, options.results / "latency.csv", note)
    if not options.quick:
        _print_bars(rows)


def write_files(models: Models, folder: pathlib.Path) -> Reports:
    """Writes a SavedModel and all TFLite files of every model, with random weights, into `folder`/name.

    Args:
        models: their names and fields.
        folder: where to write.

    Returns:
        What `to_tflite` says of each file, by model and candidate.
    """
    reports: dict[tuple[str, str], dict[str, Any]] = {}
    for name, fields in models.items():
        model = keras_nest.create_model(name, **fields)
        _fill_zeros(model)
        export.to_saved_model(model, folder / name / "saved_model")
        images = [sample_images(model.input.shape[1:])]
        for row in to_tflite(model, folder / name, PRECISIONS, representative=images, activation="none"):
            reports[name, f"TFLite {row['precision']}"] = row
    return reports


def _fill_zeros(model: keras.Model) -> None:
    """A head that begins with zeros would hide every difference."""
    for variable in model.trainable_variables:
        if not np.any(variable):
            variable.assign(keras.random.normal(variable.shape, stddev=0.02, seed=0))


def _facts(reports: Reports, row: Mapping[str, Any]) -> dict[str, Any]:
    """Size of a TFLite file, and its largest difference from the Keras model on photographs."""
    report = reports.get((row["model"], row["candidate"]))
    return {"MB": report and report["bytes"] / 1e6, "max diff": report and report["max_abs_diff"]}


def measure(models: Models, folder: pathlib.Path, threads: int, runs: int) -> list[dict[str, Any]]:
    """Rows of the table for one number of threads; to be called before TensorFlow has computed anything.

    Args:
        models: their names and fields.
        folder: where `write_files` has written.
        threads: processors to use.
        runs: interleaved rounds.
    """
    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(threads)
    calls = {
        (name, candidate): call
        for name, fields in models.items()
        for candidate, call in candidates(name, fields, folder / name, threads).items()
    }
    rounds = timing.interleave(calls, runs, f"latency with {threads} threads")
    return [
        {
            "model": name,
            "threads": threads,
            "candidate": candidate,
            "median ms": rounds.median((name, candidate)) * 1e3,
            "x SavedModel": rounds.ratio((name, candidate), (name, SAVED_MODEL)),
            "x float32": rounds.ratio((name, candidate), (name, FLOAT32)),
            "load": round(rounds.load, 2),
        }
        for name, candidate in calls
    ]


def candidates(
    name: str, fields: Mapping[str, Any], folder: pathlib.Path, threads: int
) -> dict[str, Callable[[], Any]]:
    """Calls that compute the logits of one image.

    Args:
        name: of the model.
        fields: of the model.
        folder: with its files.
        threads: of the TFLite interpreter.
    """
    model = keras_nest.create_model(name, **fields)
    images = np.random.default_rng(0).random((1, *model.input.shape[1:]), np.float32)
    constant = tf.constant(images)
    loaded = tf.saved_model.load(str(folder / "saved_model"))
    serve = loaded.signatures["serving_default"]
    files = {precision: TFLiteModel(folder / f"{precision}.tflite", threads) for precision in PRECISIONS}
    return {
        KERAS: lambda: model.predict(images, verbose=0),
        # The signature does not keep what it was loaded with.
        SAVED_MODEL: lambda loaded=loaded: serve(images=constant)["logits"].numpy(),
        **{f"TFLite {precision}": lambda file=file: file(images) for precision, file in files.items()},
    }


def _print_bars(rows: Sequence[dict[str, Any]]) -> None:
    """Says of every model whether the bars are kept."""
    for row in rows:
        for candidate, column, reference, bar in BARS:
            if (row["candidate"], row["threads"]) == (candidate, THREADS[-1]):
                verdict = "kept" if row[column] <= bar else "MISSED"
                print(
                    f"{row['model']}: {candidate} takes {row[column]:.2f} of {reference}'s time, bar {bar}: {verdict}."
                )


if __name__ == "__main__":
    main()
