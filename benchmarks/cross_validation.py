"""What the memory of a process grows by in each fold of a cross-validation: create, fit, forget, in a loop.

Beside models of this package a stock Keras one of as many blocks is measured, each in a process of its own, with
`keras.backend.clear_session()` after each fold, and with garbage collected after it as well. The first three folds
fill caches and do not count.

Writes the table to results/cross_validation.csv.
"""

import argparse
import gc
import json
import os
import pathlib
import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import psutil

from benchmarks import timing
from keras_nest import create_model
from keras_nest.files import local_path

BLOCKS, WIDTH, HEADS, CLASSES, SIZE, BATCH = 6, 64, 4, 4, 32, 16
_WARM_UP = 3


def stock() -> keras.Model:
    """A transformer in layers of stock Keras, with what a ViT has."""
    images = keras.Input((SIZE, SIZE, 3))
    x = keras.layers.Conv2D(WIDTH, 4, 4)(images)
    x = keras.layers.Reshape((-1, WIDTH))(x)
    for _ in range(BLOCKS):
        y = keras.layers.LayerNormalization()(x)
        y = keras.layers.MultiHeadAttention(HEADS, WIDTH // HEADS)(y, y)
        x = keras.layers.Add()([x, keras.layers.Dropout(0.1)(y)])
        y = keras.layers.LayerNormalization()(x)
        y = keras.layers.Dropout(0.1)(keras.layers.Dense(2 * WIDTH, "gelu")(y))
        x = keras.layers.Add()([x, keras.layers.Dropout(0.1)(keras.layers.Dense(WIDTH)(y))])
    x = keras.layers.GlobalAveragePooling1D()(keras.layers.LayerNormalization()(x))
    return keras.Model(images, keras.layers.Dense(CLASSES)(x))


def vit() -> keras.Model:
    """A ViT of this size."""
    size = {"image_size": SIZE, "patch_size": 4, "hidden_size": WIDTH, "mlp_dim": 2 * WIDTH}
    depth = {"num_layers": BLOCKS, "num_heads": HEADS, "dropout_rate": 0.1}
    return create_model("ViT-Ti_16", num_classes=CLASSES, **size, **depth)


def nest() -> keras.Model:
    """A NesT of as many blocks."""
    size = {"image_size": SIZE, "init_patch_embed_size": 2, "embedding_dim": WIDTH // 2, "num_heads": HEADS}
    return create_model("nest_tiny", num_classes=CLASSES, num_layers_per_block=(BLOCKS // 3,) * 3, **size)


MODELS: dict[str, Callable[[], keras.Model]] = {"stock Keras": stock, "ViT": vit, "NesT": nest}


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the comparison from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=local_path, default=pathlib.Path("results"), help="directory of the CSV file")
    parser.add_argument("--folds", type=int, default=10, help="folds of each process; more than three")
    parser.add_argument("--of", choices=MODELS, help="prints what this process measures for one model, as JSON")
    parser.add_argument("--collect", action="store_true", help="with --of: collect garbage after each fold")
    options = parser.parse_args(arguments)
    if options.of:
        print(json.dumps(measure(MODELS[options.of], options.folds, options.collect)))
        return
    rows = [row(name, options.folds) for name in MODELS]
    timing.report("Memory of a fold", rows, options.results / "cross_validation.csv")


def row(name: str, folds: int) -> dict[str, Any]:
    """Both measurements of one model, each in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.cross_validation", "--of", name, "--folds", str(folds)]
    plain, collected = (
        json.loads(subprocess.run([*command, *more], check=True, stdout=subprocess.PIPE).stdout.splitlines()[-1])
        for more in ([], ["--collect"])
    )
    more = {"MB a fold": plain["growth"], "MB a fold, garbage collected": collected["growth"]}
    return {"candidate": name, "parameters": plain["parameters"], "variables": plain["variables"], **more}


def measure(make: Callable[[], keras.Model], folds: int, collect: bool) -> dict[str, float]:
    """Trains in a loop; the mean growth of the resident memory in MB a fold, and what the model holds."""
    rng = np.random.default_rng(0)
    images, labels = rng.random((2 * BATCH, SIZE, SIZE, 3), np.float32), rng.integers(0, CLASSES, 2 * BATCH)
    resident = []
    for _ in range(folds):
        model = make()
        model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        model.fit(images, labels, batch_size=BATCH, verbose=0)
        size = {"parameters": model.count_params(), "variables": len(model.variables)}
        del model
        keras.backend.clear_session()
        if collect:
            gc.collect()
        resident.append(psutil.Process().memory_info().rss / 1e6)
    return {**size, "growth": round((resident[-1] - resident[_WARM_UP - 1]) / (folds - _WARM_UP), 1)}


if __name__ == "__main__":
    main()
