"""What weights are worth that were trained on other photographs: `keras-nest finetune` from them, and from scratch.

A small NesT learns to tell ten photographs of scikit-image apart by crops of them. Then it is fine-tuned on crops of
six other photographs, few or more, and a new model of the same kind is trained on the same crops for as many epochs. No
class of the one is a class of the other. Each of the six photographs is cut into cells, of which some are for training,
some for choosing the weights and some for measuring: no pixel is in two parts. The seeds choose the cells, the crops,
the new weights and the order of the images. The command decides the rest; the new model gets what it gives new weights
as flags, since it is no published one, and the head is fit first there, too.

Writes the table to results/finetune.csv.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import skimage.data
from PIL import Image

from benchmarks import timing
from examples.photographs import PHOTOGRAPHS
from keras_nest import create_model
from keras_nest.files import local_path

OTHERS = ("brick", "camera", "coins", "grass", "gravel", "hubble_deep_field", "moon", "page", "retina", "text")
# Of 16 cells a photograph is cut into; and crops of each.
PARTS, CELLS, CROPS = {"train": 8, "val": 3, "test": 5}, 4, 4
# Crops of a class to train with.
AMOUNTS = (8, 32)
SIDE, EPOCHS, SEEDS = 32, 60, range(5)
SIZES: dict[str, Any] = {"init_patch_embed_size": 4, "embedding_dim": 24, "num_heads": 2, "scale_hidden_dims": 2}
SIZES |= {"num_layers_per_block": (1, 1), "stochastic_depth_drop": 0.0}
OF_NEW_WEIGHTS = {"blocks": "all", "learning-rate": 2e-3, "patience": 15}
PRETRAINED, SCRATCH = "weights trained on ten other photographs", "new weights"


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the comparison from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=local_path, default=pathlib.Path("results"), help="directory of the CSV file")
    parser.add_argument("--quick", action="store_true", help="one seed and a toy, which shows that it works")
    options = parser.parse_args(arguments)
    seeds, crops, epochs = (range(1), 1, 1) if options.quick else (SEEDS, CROPS, EPOCHS)
    amounts = AMOUNTS[:1] if options.quick else AMOUNTS
    found: dict[tuple[str, int], list[dict[str, Any]]] = {
        (name, amount): [] for amount in amounts for name in (PRETRAINED, SCRATCH)
    }
    with tempfile.TemporaryDirectory() as folder:
        root = pathlib.Path(folder)
        others = {name: Image.fromarray(getattr(skimage.data, name)()).convert("RGB") for name in OTHERS}
        write(root / "others", others, {"train": 12, "val": 4}, 3 * crops, 0)
        before = new_model(root / "before.keras", 0)
        finetune(root / "others", root / "pretrained", {**OF_NEW_WEIGHTS, "model": before, "epochs": epochs})
        for seed in seeds:
            photos, new = root / f"photos{seed}", new_model(root / f"new{seed}.keras", seed)
            write(photos, {name: Image.fromarray(read()) for name, read in PHOTOGRAPHS.items()}, PARTS, crops, seed)
            starts = {PRETRAINED: {"model": root / "pretrained"}, SCRATCH: {**OF_NEW_WEIGHTS, "model": new}}
            for amount in sorted(amounts, reverse=True):
                keep(photos / "train", amount)
                for name, start in starts.items():
                    run = root / f"run{len(list(root.iterdir()))}"
                    found[name, amount].append(finetune(photos, run, {"epochs": epochs, "seed": seed, **start}))
    rows = [summary(*candidate, metrics) for candidate, metrics in found.items()]
    title = "Fine-tuning a small NesT on crops of each of six photographs"
    timing.report(title, rows, options.results / "finetune.csv", f"{len(seeds)} seeds, up to {epochs} epochs each")


def new_model(path: pathlib.Path, seed: int) -> pathlib.Path:
    """Writes a model with new weights; returns where."""
    keras.utils.set_random_seed(seed)
    create_model("nest_tiny_s16_32", image_size=SIDE, **SIZES).save(path)
    return path


def write(
    folder: pathlib.Path, photographs: Mapping[str, Image.Image], parts: Mapping[str, int], crops: int, seed: int
) -> None:
    """Writes folder/PART/CLASS/*.png, squares of random size and place inside cells that the parts do not share."""
    generator = np.random.default_rng(seed)
    for name, photograph in photographs.items():
        cells = list(np.ndindex(CELLS, CELLS))
        generator.shuffle(cells)
        width, height = (length // CELLS for length in photograph.size)
        for part, count in parts.items():
            place = folder / part / name
            place.mkdir(parents=True)
            for number in range(count * crops):
                row, column = cells[number % count]
                side = int(generator.uniform(0.6, 1.0) * min(width, height))
                left = column * width + int(generator.integers(width - side + 1))
                top = row * height + int(generator.integers(height - side + 1))
                # Resizing with a box would look a pixel or two beyond it.
                crop = photograph.crop((left, top, left + side, top + side)).resize((SIDE, SIDE))
                crop.save(place / f"{number:03}.png")
            del cells[:count]


def keep(folder: pathlib.Path, amount: int) -> None:
    """Leaves the first so many crops of each class, which are of as many cells as there are."""
    for name in folder.iterdir():
        for path in sorted(name.iterdir())[amount:]:
            path.unlink()


def finetune(photos: pathlib.Path, workdir: pathlib.Path, flags: Mapping[str, Any]) -> dict[str, Any]:
    """Runs the command as a user does; what it measured."""
    words = [str(word) for name, value in flags.items() for word in (f"--{name}", value)]
    command = [sys.executable, "-m", "keras_nest", "finetune", str(photos), "--workdir", str(workdir), *words]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"})
    return json.loads((workdir / "metrics.json").read_text("utf-8"))


def summary(name: str, amount: int, metrics: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """A row of the table, from the measurements of all seeds."""
    right = [100 * each["top1"] for each in metrics]
    return {
        "candidate": name,
        "crops a class": amount,
        "mean accuracy %": round(statistics.mean(right), 1),
        "lowest": round(min(right), 1),
        "highest": round(max(right), 1),
        "test images": metrics[0]["examples"],
        "median seconds of training": round(statistics.median(each["train_seconds"] for each in metrics), 1),
        "median steps": round(statistics.median(each["steps"] for each in metrics)),
    }


if __name__ == "__main__":
    main()
