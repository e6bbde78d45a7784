"""What each kind of TFLite file costs and gives: size, agreement with the Keras model, and time of an image.

A small NesT is trained on the digits and one on the crops of photographs that need no download, as for
`benchmarks.quantization`; static files are calibrated on 100 training images, agreement and differences are those of
the held-out ones. NesT-T and ViT-S/16 have random weights, and are there for their time. All files of a model take
turns, on one thread.

Writes the table to results/tflite_recipes.csv.
"""

import argparse
import os
import pathlib
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np

from benchmarks import timing
from benchmarks.latency import MODELS
from benchmarks.quantization import TASKS, in_unit_range, trained
from keras_nest import create_model, export
from keras_nest.export.tflite_report import sample_images
from keras_nest.files import local_path
from keras_nest.tflite import TFLiteModel

RECIPES = ("float32", "float16", "dynamic_int8", "static_int8", "int8")
_CALIBRATION = 100


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the comparison from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=21, help="interleaved rounds")
    parser.add_argument("--recipes", nargs="+", default=RECIPES, help="static_int8 needs ai-edge-quantizer")
    parser.add_argument("--results", type=local_path, default=pathlib.Path("results"), help="directory of the CSV file")
    parser.add_argument("--quick", action="store_true", help="two steps on the digits, which shows that it works")
    options = parser.parse_args(arguments)
    tasks = {"digits": (*TASKS["digits"][:2], 2)} if options.quick else TASKS
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for name, (config, size, steps) in tasks.items():
            if name == "photos":
                subprocess.run([sys.executable, "examples/photographs.py", folder], check=True)
            model, train, test = trained(folder if name == "photos" else name, config, size, steps)
            calibration = _images(model, train.unbatch().take(_CALIBRATION).batch(_CALIBRATION).as_numpy_iterator())
            images = _images(model, test.as_numpy_iterator())
            rows += compare(f"NesT, {name}", model, calibration, images, options.recipes, options.runs)
        for name in () if options.quick else MODELS:
            model = create_model(name)
            images = sample_images(model.input.shape[1:])
            rows += compare(name, model, images, images, options.recipes, options.runs)
    timing.report("Kinds of TFLite files", rows, options.results / "tflite_recipes.csv")


def compare(
    name: str, model: keras.Model, calibration: np.ndarray, images: np.ndarray, recipes: Sequence[str], runs: int
) -> list[dict[str, Any]]:
    """A row for each recipe.

    Args:
        name: of the model, in the table.
        model: with its weights.
        calibration: float32 (N, H, W, C) in [0, 1].
        images: likewise, to compare on.
        recipes: precisions of `to_tflite`.
        runs: interleaved rounds.
    """
    with tempfile.TemporaryDirectory() as folder:
        options: dict[str, Any] = {"representative": [calibration], "images": images, "activation": "none"}
        reports = export.to_tflite(model, folder, recipes, **options)
        files = {row["precision"]: TFLiteModel(pathlib.Path(folder, row["file"]), threads=1) for row in reports}
        calls = {recipe: _call(file, images[:1]) for recipe, file in files.items()}
        rounds = timing.interleave(calls, runs, name)
    return [
        {
            "model": name,
            "recipe": row["precision"],
            "MB": round(row["bytes"] / 1e6, 2),
            "images": len(images),
            "same class %": round(100 * row["top1_agreement"], 2),
            "max diff": round(row["max_abs_diff"], 6),
            "largest logit": round(row["largest"], 2),
            "median ms": rounds.median(row["precision"]) * 1e3,
            "x float32": rounds.ratio(row["precision"], reports[0]["precision"]),
            "XNNPACK pieces": row["xnnpack_partitions"],
            "ops left out": row["ops"] - row["xnnpack_ops"],
        }
        for row in reports
    ]


def _call(file: TFLiteModel, image: np.ndarray) -> Callable[[], Any]:
    """The interpreter alone, without what `TFLiteModel` checks, which would be most of the time of a small network."""
    run = file.interpreter.get_signature_runner()
    dtype = run.get_input_details()["images"]["dtype"]
    pixels = image if dtype == np.float32 else np.rint(255 * image).astype(dtype)
    return lambda: run(images=pixels)


def _images(model: keras.Model, batches: Any) -> np.ndarray:
    """Images of a normalized data set in [0, 1], without those that fill the last batch."""
    images = np.concatenate([batch[0][batch[2] > 0] if len(batch) > 2 else batch[0] for batch in batches])
    return in_unit_range(model, images)


if __name__ == "__main__":
    main()
