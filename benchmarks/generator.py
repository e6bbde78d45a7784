"""NesTGenerator against a decoder of the same depth and width with global attention at the final resolution.

The paper's claim for its decoder: local attention on blocks, most of it at low resolution, costs far less. Both have 8
encoder layers of 128 channels and 4 heads on tokens of 2 x 2 pixels. NesT spends them on levels that begin with one
block of 8 x 8 tokens and end at the full resolution; the other one is a single block of all tokens, so that each layer
attends globally.

Speed is that of interleaved rounds in this process. Memory is what the first forward pass of one image, its tracing
with it, adds to the resident size of a process of its own at its peak (Linux only). Attention memory is computed: the
probabilities of the largest layer in float32.

Writes the table to results/generator.csv and a picture to docs/generator_speed.png.
"""

import argparse
import csv
import multiprocessing
import os
import pathlib
from collections.abc import Sequence
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as tf

from benchmarks import memory, timing
from keras_nest import NesTGenerator
from keras_nest.figures import new_figure, picture_file, plain_logarithmic
from keras_nest.files import local_path

NEST, GLOBAL = "NesTGenerator", "global attention"
COLORS = {NEST: "tab:blue", GLOBAL: "tab:orange"}
SIZES, BATCH = (32, 64, 128), 2
_WIDTH, _HEADS, _DEPTH, _LATENT, _PATCH, _BLOCK = 128, 4, 8, 64, 2, 8


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the benchmark from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=15, help="interleaved rounds (default: %(default)s)")
    parser.add_argument("--batch", type=int, default=BATCH, help="images at a time (default: %(default)s)")
    parser.add_argument("--results", type=local_path, default=pathlib.Path("results"), help="directory of the CSV file")
    parser.add_argument("--picture", type=local_path, default=pathlib.Path("docs", "generator_speed.png"))
    parser.add_argument(
        "--quick", action="store_true", help="the smallest size and few rounds, which shows that it works"
    )
    parser.add_argument("--draw", action="store_true", help="draw the table that is there, and measure nothing")
    options = parser.parse_args(arguments)
    if options.draw:
        draw(options.picture, read(options.results / "generator.csv"))
        return
    sizes, runs = (SIZES[:1], 2) if options.quick else (SIZES, options.runs)
    rows = measure(sizes, options.batch, runs)
    note = f"{_DEPTH} layers of {_WIDTH} channels, batch {options.batch}; {os.cpu_count()} processors"
    timing.report("Decoders: local and global attention", rows, options.results / "generator.csv", note)
    draw(options.picture, rows)
    print(f"Picture written to {options.picture}.")


def fields_of(name: str, size: int) -> dict[str, Any]:
    """Fields of `NesTGenerator` for a candidate at a size in pixels.

    Args:
        name: `NEST` or `GLOBAL`.
        size: side of the images, a power of two times 16.
    """
    levels = (size // _PATCH // _BLOCK).bit_length() if name == NEST else 1
    # What does not divide among the levels goes to the last ones, which cost the most.
    depths = [(_DEPTH + level) // levels for level in range(levels)]
    return {
        "image_size": size,
        "latent_dim": _LATENT,
        "embedding_dims": (_WIDTH,) * levels,
        "num_heads": (_HEADS,) * levels,
        "num_layers_per_block": depths,
        "patch_size": _PATCH,
    }


def measure(sizes: Sequence[int], batch: int, runs: int) -> list[dict[str, Any]]:
    """Rows of the table, two for each size.

    Args:
        sizes: sides of the images in pixels.
        batch: images at a time.
        runs: interleaved rounds.
    """
    models = {(size, name): NesTGenerator(**fields_of(name, size)) for size in sizes for name in (NEST, GLOBAL)}
    candidates = {key: _call(model, batch) for key, model in models.items()}
    rounds = timing.interleave(candidates, runs, "decoders")
    # A fresh process, since the peak of this one has all candidates in it.
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
        peaks = dict(zip(models, pool.map(added_peak, [fields_of(n, s) for s, n in models], chunksize=1), strict=True))
    return [
        {
            "size": size,
            "decoder": name,
            "parameters": model.count_params(),
            "median ms": 1e3 * rounds.median((size, name)),
            "images/s": batch / rounds.median((size, name)),
            "times NesT": rounds.ratio((size, name), (size, NEST)),
            "peak MiB": peaks[size, name],
            "attention MiB": attention_mebibytes(model),
            "runs": len(rounds.seconds[size, name]),
            "load of others": round(rounds.load, 2),
        }
        for (size, name), model in models.items()
    ]


def _call(model: NesTGenerator, batch: int) -> Any:
    """Generates a batch and waits for one number of it."""
    function = tf.function(lambda noise: model(noise, training=False)[0, 0, 0, 0], autograph=False)
    noise = tf.constant(np.random.default_rng(0).standard_normal((batch, _LATENT)).astype(np.float32))
    return lambda: function(noise).numpy()


def attention_mebibytes(model: NesTGenerator) -> float:
    """Attention probabilities of one image in the layer that has the most, (T, h, N, N) in float32."""
    maps = [x.shape for name, x in model.endpoints.items() if name.startswith("level_")]
    return max(blocks * _HEADS * tokens**2 * 4 / 2**20 for _, blocks, tokens, _ in maps)


def added_peak(fields: dict[str, Any]) -> float:
    """MiB that generating one image adds to the resident size of this process at its peak.

    Args:
        fields: of `NesTGenerator`.
    """
    return memory.added_peak(_call(NesTGenerator(**fields), 1))


def read(path: pathlib.Path) -> list[dict[str, Any]]:
    """The rows of a table that was written, as far as the picture shows them."""
    with path.open(newline="", encoding="utf-8") as file:
        numbers = ("size", "images/s", "peak MiB")
        return [
            {"decoder": row["decoder"], **{name: float(row[name]) for name in numbers}} for row in csv.DictReader(file)
        ]


def draw(path: pathlib.Path, rows: Sequence[dict[str, Any]]) -> None:
    """Draws images/s and memory over the size of the images, both axes logarithmic."""
    figure = new_figure(9, 3.8)
    axes = figure.subplots(1, 2)
    sizes = sorted({row["size"] for row in rows})
    for axis, column, label in zip(
        axes, ("images/s", "peak MiB"), ("images a second", "memory that one image takes, MiB"), strict=True
    ):
        for name, color in COLORS.items():
            values = [row[column] for row in rows if row["decoder"] == name]
            axis.plot(sizes, values, "o-", color=color, label=name)
        for row in rows:
            # Of the two numbers of a size the higher one stands above its point, the other one below.
            highest = max(other[column] for other in rows if other["size"] == row["size"])
            offset = 6 if row[column] == highest else -14
            place = (row["size"], row[column])
            axis.annotate(
                f"{row[column]:.3g}",
                place,
                (0, offset),
                textcoords="offset points",
                ha="center",
                color=COLORS[row["decoder"]],
            )
        axis.set_xscale("log", base=2)
        plain_logarithmic(axis)
        axis.margins(0.12, 0.18)
        axis.set_xticks(sizes, [f"{size:g} px" for size in sizes])
        axis.set(title=label)
        axis.grid(alpha=0.3)
    axes[0].legend(frameon=False)
    with picture_file(path, overwrite=True) as partial:
        figure.savefig(partial)


if __name__ == "__main__":
    main()
