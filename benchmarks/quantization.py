"""What weights of 8 and of 4 bits and products in bfloat16 cost: size, accuracy and agreement with the float model.

A small NesT is trained on the digits and one on the crops of photographs that need no download, then each is quantized
with `model.quantize`, or exported in bfloat16, and asked about the held-out images. Differences are of probabilities,
the largest of a class and an image.

Writes the table to results/quantization.csv.
"""

import argparse
import os
import pathlib
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf

from benchmarks import timing
from keras_nest import create_model, data, export
from keras_nest.configs import digits_nest, photos_nest
from keras_nest.files import local_path
from keras_nest.training import AdamW, WarmupDecay

BATCH, RATE = 32, 2e-3
# Configuration, images a side and updates, by data set.
TASKS = {"digits": (digits_nest, 32, 600), "photos": (photos_nest, 128, 300)}
WAYS = {
    "float32": None,
    "int8, activations too": keras.quantizers.Int8QuantizationConfig(),
    "int8, weights alone": keras.quantizers.Int8QuantizationConfig(activation_quantizer=None),
    "int4, weights alone": keras.quantizers.Int4QuantizationConfig(),
}
BFLOAT16 = "SavedModel for processors in bfloat16"


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the comparison from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=local_path, default=pathlib.Path("results"), help="directory of the CSV file")
    parser.add_argument("--quick", action="store_true", help="two steps on the digits, which shows that it works")
    options = parser.parse_args(arguments)
    tasks = {"digits": (digits_nest, 32, 2)} if options.quick else TASKS
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for name, (config, size, steps) in tasks.items():
            if name == "photos":
                subprocess.run([sys.executable, "examples/photographs.py", folder], check=True)
            source = folder if name == "photos" else name
            rows += [{"data": name, **row} for row in compare(source, config, size, steps)]
    timing.report("Quantized models", rows, options.results / "quantization.csv")


def compare(name: str, config: Any, size: int, steps: int) -> list[dict[str, Any]]:
    """Trains on one data set; a row for each way of quantization.

    Args:
        name: as `data.load` takes it.
        config: module of its configuration.
        size: height and width of the images.
        steps: updates of the training.
    """
    model, _, test = trained(name, config, size, steps)
    images, labels, weights = (np.concatenate(each) for each in zip(*test.as_numpy_iterator(), strict=True))
    images, labels = images[weights > 0], labels[weights > 0]  # without what fills the last batch
    plain = None
    rows = []
    for way, quantization in WAYS.items():
        quantized = create_model("nest_tiny_s16_32", **model.config)
        quantized.set_weights(model.get_weights())
        if quantization is not None:
            quantized.quantize(config=quantization)
        probabilities = tf.nn.softmax(quantized.predict(images, verbose=0)).numpy()
        plain = probabilities if plain is None else plain
        rows.append({"weights": way, "images": len(images), **_row(quantized, probabilities, plain, labels)})
    probabilities = _in_bfloat16(model, images)
    rows.append({"weights": BFLOAT16, "images": len(images), **_row(model, probabilities, plain, labels)})
    return rows


def trained(name: str, config: Any, size: int, steps: int) -> tuple[keras.Model, Any, Any]:
    """A small NesT, and the normalized data sets of its training and of its test; arguments as `compare` takes them."""
    keras.utils.set_random_seed(0)
    recipe = data.create_recipe("shift", data.open_source(name).info, size)
    train, test, info = data.load(name, recipe, image_size=size, batch_size=BATCH)
    fields = {**config.get_config().model.to_dict(), "num_classes": info.num_classes}
    fields["preprocessing"] = dict(recipe.preprocessing)  # what it is trained with, which exports and files hold
    model = create_model("nest_tiny_s16_32", **fields)
    schedule = WarmupDecay(RATE, steps_per_epoch=steps, num_epochs=1, warmup_epochs=0.1)
    model.compile(AdamW(schedule, weight_decay=0.05, clip_norm=1.0))
    model.fit(train, steps_per_epoch=steps, shuffle=False, verbose=0)
    return model, train, test


def in_unit_range(model: keras.Model, images: np.ndarray) -> np.ndarray:
    """Normalized images in [0, 1] again, float32 (N, H, W, C)."""
    spec = model.config["preprocessing"]
    return np.clip(images * np.float32(spec["std"]) + np.float32(spec["mean"]), 0, 1).astype(np.float32)


def _in_bfloat16(model: keras.Model, images: np.ndarray) -> np.ndarray:
    """Probabilities of an optimized SavedModel."""
    with tempfile.TemporaryDirectory() as folder:
        path = export.to_saved_model(model, pathlib.Path(folder, "model"), optimize="cpu", precision="bfloat16")
        logits = tf.saved_model.load(str(path))(in_unit_range(model, images))
    return tf.nn.softmax(logits).numpy()


def _row(model: keras.Model, probabilities: np.ndarray, plain: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
    answers = probabilities.argmax(-1)
    return {
        "kB": round(sum(np.asarray(variable).nbytes for variable in model.weights) / 1000, 1),
        "accuracy %": round(100 * float(np.mean(answers == labels)), 2),
        "same class as float %": round(100 * float(np.mean(answers == plain.argmax(-1))), 2),
        "largest difference": round(float(np.abs(probabilities - plain).max()), 4),
    }


if __name__ == "__main__":
    main()
