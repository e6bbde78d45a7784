"""How much accuracy few training images give: NesT against a ViT and an MLP-Mixer of about its size, on the digits.

Each is trained on 10, 20, 50 and all images of a class, with three seeds, which choose images and initial weights. All
trainings have the same recipe and the same number of steps; the test images are the same 360. The NesT paper claims
data efficiency on CIFAR and ImageNet (section 4.1 and appendix), where nothing was run here.

Writes the table to results/data_efficiency.csv and the picture to docs/data_efficiency.png.
"""

import argparse
import os
import pathlib
import statistics
from collections.abc import Sequence
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import rich.progress
from matplotlib.figure import Figure

from benchmarks import timing
from keras_nest import create_model
from keras_nest.data import Source, create_recipe, eval_batches, train_batches
from keras_nest.data.sources import IndexedExamples, digits
from keras_nest.files import local_path
from keras_nest.metrics import accuracy
from keras_nest.models.losses import cross_entropy
from keras_nest.training import Trainer, WarmupDecay, create_optimizer

_COMMON = {"num_classes": 10, "image_size": 32}
_NEST = {"init_patch_embed_size": 2, "embedding_dim": 24, "num_heads": 2, "num_layers_per_block": (1, 1, 2)}
_NEST |= {"scale_hidden_dims": 2, "attn_type": "local_multi_head", "stochastic_depth_drop": 0.1}
_VIT = {"patch_size": 4, "hidden_size": 80, "num_layers": 4, "num_heads": 4, "mlp_dim": 320}
_MIXER = {"patch_size": 4, "hidden_dim": 96, "num_blocks": 4, "tokens_mlp_dim": 48, "channels_mlp_dim": 384}
MODELS = {"NesT": ("nest_tiny_s16_32", _NEST), "ViT": ("ViT-Ti_16", _VIT), "MLP-Mixer": ("Mixer-B_16", _MIXER)}
ALL = 143  # the fewest of a class are 139, the most 146
COUNTS, SEEDS = (10, 20, 50, ALL), (0, 1, 2)
STEPS, BATCH, RATE = 500, 32, 2e-3
COLORS = {"NesT": "tab:blue", "ViT": "tab:orange", "MLP-Mixer": "tab:green"}


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the comparison from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=local_path, default=pathlib.Path("results"), help="directory of the CSV file")
    parser.add_argument("--picture", type=local_path, default=pathlib.Path("docs", "data_efficiency.png"))
    parser.add_argument("--steps", type=int, default=STEPS, help="updates of each training (default: %(default)s)")
    parser.add_argument("--quick", action="store_true", help="one seed and few steps, which shows that it works")
    options = parser.parse_args(arguments)
    counts, seeds, steps = ((10, 20), (0,), 2) if options.quick else (COUNTS, SEEDS, options.steps)
    rows = compare(counts, seeds, steps)
    title = f"Test accuracy on the digits after {steps} steps of {BATCH} images"
    timing.report(title, summary(rows), options.results / "data_efficiency.csv", f"{len(seeds)} seeds")
    draw(options.picture, rows)
    print(f"Picture written to {options.picture}.")


def compare(counts: Sequence[int], seeds: Sequence[int], steps: int) -> list[dict[str, Any]]:
    """Trains all; a row has model, parameters, images a class, seed and test accuracy.

    Args:
        counts: training images a class.
        seeds: of images and initial weights.
        steps: updates of each training.
    """
    rows = []
    tasks = [(name, count, seed) for name in MODELS for count in counts for seed in seeds]
    for name, count, seed in rich.progress.track(tasks, "training", transient=True):
        reached, parameters = train(name, few_digits(count, seed), seed, steps)
        rows.append(
            {"model": name, "parameters": parameters, "images a class": count, "seed": seed, "accuracy": reached}
        )
    return rows


def few_digits(count: int, seed: int) -> Source:
    """The digits with at most so many training images a class, chosen by the seed."""
    train, test, info = digits.load()
    order = np.random.default_rng(seed).permutation(len(train.labels))
    chosen = np.concatenate([order[train.labels[order] == label][:count] for label in range(info.num_classes)])
    few = IndexedExamples(train.images[chosen], train.labels[chosen])
    return Source(info, few, IndexedExamples(*test))


def train(name: str, source: Source, seed: int, steps: int) -> tuple[float, int]:
    """Trains one model; returns its test accuracy, in [0, 1], and its number of parameters."""
    keras.utils.set_random_seed(seed)
    published, fields = MODELS[name]
    recipe, size = create_recipe("shift", source.info, 32), (32, 32)
    model = create_model(published, **_COMMON, **fields)
    trainer = Trainer(model, clip_norm=1.0)
    schedule = WarmupDecay(RATE, steps_per_epoch=steps, num_epochs=1, warmup_epochs=0.1)
    optimizer = create_optimizer(model, "adamw", schedule, weight_decay=0.05, optim_wd_ignore=("pos_embedding",))
    trainer.compile(optimizer, cross_entropy, weighted_metrics=[accuracy])
    batches = train_batches(source, recipe, size, BATCH, seed)
    trainer.fit(batches, steps_per_epoch=steps, shuffle=False, verbose=0)
    measured = trainer.evaluate(eval_batches(source, recipe, size, 120), verbose=0, return_dict=True)
    return float(measured["accuracy"]), model.count_params()


def summary(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """A row for each model and number of images: mean accuracy over the seeds, lowest and highest, in percent."""
    groups: dict[tuple[str, int, int], list[float]] = {}
    for row in rows:
        key = (row["model"], row["parameters"], row["images a class"])
        groups.setdefault(key, []).append(100 * row["accuracy"])
    return [
        {
            "model": model,
            "parameters": parameters,
            "images a class": "all" if count == ALL else str(count),
            "mean accuracy %": round(statistics.mean(values), 2),
            "lowest": round(min(values), 2),
            "highest": round(max(values), 2),
        }
        for (model, parameters, count), values in groups.items()
    ]


def draw(path: pathlib.Path, rows: Sequence[dict[str, Any]]) -> None:
    """Draws accuracy over the number of training images, a line through the means and a point for each seed."""
    figure = Figure(figsize=(7, 4.4), layout="constrained")
    axis = figure.subplots()
    counts = sorted({row["images a class"] for row in rows})
    for name, color in COLORS.items():
        own = [row for row in rows if row["model"] == name]
        values = [[100 * row["accuracy"] for row in own if row["images a class"] == count] for count in counts]
        label = f"{name} ({own[0]['parameters'] / 1e6:.2f} M parameters)"
        axis.plot(counts, [statistics.mean(v) for v in values], color=color, label=label)
        for count, reached in zip(counts, values, strict=True):
            axis.plot([count] * len(reached), reached, "o", color=color, markersize=4, alpha=0.6)
    axis.set_xscale("log")
    axis.set_xticks(counts, ["all" if count == ALL else str(count) for count in counts])
    axis.minorticks_off()
    axis.set(xlabel="training images a class", ylabel="test accuracy in %", title="Digits: the same recipe and budget")
    axis.grid(alpha=0.3)
    figure.legend(loc="outside lower center", ncols=len(COLORS), fontsize="small", frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    main()
