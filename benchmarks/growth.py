"""How time and memory grow with the batch, the size of the images, the model, and the number of replicas.

A forward pass as a graph, in float32, of random weights; for the replicas a train step of NesT-T on a batch of 8 that
they share, and with it the processors. Each point has a process of its own: the time is the median of its rounds, the
memory what the model holds and its warm call takes at the peak (Linux only).

Writes the table to results/growth.csv and a picture to docs/growth.png.
"""

import argparse
import os
import pathlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as tf

import keras_nest
from benchmarks import memory, timing
from keras_nest.figures import new_figure, picture_file, plain_logarithmic
from keras_nest.files import local_path
from keras_nest.models.losses import cross_entropy
from keras_nest.profiling import count_macs
from keras_nest.training import AdamW, Trainer

BATCH, SIZE, MODEL, REPLICAS = "images of a batch", "side of an image in pixels", "G multiply-adds", "replicas"
AXES = (BATCH, SIZE, MODEL, REPLICAS)
NEST, VIT = "nest_tiny_s196_224", "ViT-S_16"
_TRAINED_BATCH = 8


class Point(NamedTuple):
    """What is measured.

    Attributes:
        axis: one of `AXES`.
        line: what it is called in the picture.
        value: on the axis; 0 where only the model tells.
        name: of the model.
        fields: of the model.
        batch: images at a time.
    """

    axis: str
    line: str
    value: int
    name: str
    fields: Mapping[str, Any]
    batch: int = 1


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the benchmark from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5, help="rounds of each point (default: %(default)s)")
    parser.add_argument("--results", type=local_path, default=pathlib.Path("results"), help="directory of the CSV file")
    parser.add_argument("--picture", type=local_path, default=pathlib.Path("docs", "growth.png"))
    parser.add_argument("--quick", action="store_true", help="toys, which show that it works")
    options = parser.parse_args(arguments)
    points, runs = (list(toys()), 1) if options.quick else (list(published()), options.runs)
    # Each in a process of its own: memory that others left would be used again, and not be counted.
    rows = [timing.in_own_process(measure, point, runs) for point in points]
    note = f"{os.cpu_count()} processors"
    timing.report("Growth of time and memory", rows, options.results / "growth.csv", note)
    draw(options.picture, rows)
    print(f"Picture written to {options.picture}.")


def published() -> Iterator[Point]:
    """Points of the table in the documentation."""
    for line, name in (("NesT-T", NEST), ("ViT-S/16", VIT)):
        yield from (Point(BATCH, line, batch, name, {}, batch) for batch in (1, 2, 4, 8, 16, 32, 64))
        yield from (Point(SIZE, line, side, name, {"image_size": side}) for side in (256, 512, 768, 1024))
    wide = {"embedding_dim": 192, "num_heads": 6, "scale_hidden_dims": None}
    for side, layers in {256: (2, 2, 8), 512: (2, 2, 2, 8), 1024: (2, 2, 2, 2, 8)}.items():
        fields = {**wide, "num_layers_per_block": layers, "image_size": side}
        yield Point(SIZE, "NesT, 256 tokens a block", side, NEST, fields)
    nests = ("nest_tiny_s196_224", "nest_small_s196_224", "nest_base_s196_224")
    for line, names in (("NesT", nests), ("ViT", ("ViT-Ti_16", "ViT-S_16", "ViT-B_16", "ViT-L_16"))):
        yield from (Point(MODEL, line, 0, name, {}) for name in names)
    yield from (Point(REPLICAS, "NesT-T, train step", count, NEST, {}, _TRAINED_BATCH) for count in (1, 2, 4))


def toys() -> Iterator[Point]:
    """A point of each axis that takes a second."""
    fields, name = timing.TOY_NEST, "nest_tiny_s16_32"
    yield from (Point(BATCH, "NesT", batch, name, fields, batch) for batch in (1, 4))
    yield Point(SIZE, "NesT", 32, name, {**fields, "image_size": 32})
    yield Point(MODEL, "NesT", 0, name, fields)
    yield Point(REPLICAS, "NesT", 2, name, fields, _TRAINED_BATCH)


def measure(point: Point, runs: int) -> dict[str, Any]:
    """A row of the table; to be called in a process that has computed nothing."""
    prepare = trained if point.axis == REPLICAS else predicted
    work, peak = memory.steady_peak(lambda: prepare(point))
    rounds = timing.interleave({point.line: work}, runs, f"{point.line}, {point.value or ''} {point.axis}")
    return {
        "axis": point.axis,
        "line": point.line,
        "model": point.name,
        "value": point.value or giga(point),
        "ms an image": rounds.median(point.line) * 1e3 / point.batch,
        "peak MiB": peak,
        "runs": len(rounds.seconds[point.line]),
        "load of others": round(rounds.load, 2),
    }


def giga(point: Point) -> float:
    """Billions of multiply-adds of a model for one image."""
    return count_macs(keras_nest.create_model(point.name, **point.fields)) / 1e9


def predicted(point: Point) -> Callable[[], Any]:
    """A call that computes the logits of a batch."""
    model = keras_nest.create_model(point.name, **point.fields)
    function = tf.function(lambda images: model(images, training=False), autograph=False)
    images = tf.constant(images_of(model, point.batch))
    return lambda: function(images).numpy()


def trained(point: Point) -> Callable[[], Any]:
    """A call that makes one update on as many replicas as the point says."""
    processor = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(processor, [tf.config.LogicalDeviceConfiguration()] * point.value)
    devices = [device.name for device in tf.config.list_logical_devices("CPU")]
    strategy = tf.distribute.MirroredStrategy(devices) if point.value > 1 else tf.distribute.get_strategy()
    with strategy.scope():
        model = keras_nest.create_model(point.name, **point.fields)
        trainer = Trainer(model)
        trainer.compile(AdamW(1e-3, weight_decay=0.05), cross_entropy)
    labels = np.arange(point.batch, dtype=np.int32) % model.num_classes
    batches = tf.data.Dataset.from_tensors((images_of(model, point.batch), labels)).repeat()
    trainer.log_every_step = False
    trainer.make_train_function()
    iterator = iter(strategy.experimental_distribute_dataset(batches))
    return lambda: (trainer.train_function(iterator), trainer.optimizer.iterations.numpy())


def images_of(model: keras_nest.models.ImageModel, batch: int) -> np.ndarray:
    """Noise (B, H, W, 3)."""
    return np.random.default_rng(0).standard_normal((batch, *model.input.shape[1:])).astype(np.float32)


def draw(path: pathlib.Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Draws time above and memory below, a column for each axis, all of them logarithmic.

    Args:
        path: picture to write.
        rows: of the table.
    """
    axes_found = list(dict.fromkeys(row["axis"] for row in rows))
    figure = new_figure(4 * len(axes_found), 7)
    panels = figure.subplots(2, len(axes_found), squeeze=False)
    for column, axis in enumerate(axes_found):
        of_axis = [row for row in rows if row["axis"] == axis]
        ticks = sorted({float(row["value"]) for row in of_axis})
        for panel, quantity, label in zip(
            panels[:, column], ("ms an image", "peak MiB"), ("ms an image", "memory in MiB"), strict=True
        ):
            for line in dict.fromkeys(row["line"] for row in of_axis):
                points = sorted((float(r["value"]), float(r[quantity])) for r in of_axis if r["line"] == line)
                panel.plot(*zip(*points, strict=True), "o-", label=line)
            panel.set_xscale("log", base=2)
            plain_logarithmic(panel)
            panel.set_xticks(ticks, [f"{tick:.3g}" if tick < 1000 else f"{tick:g}" for tick in ticks])
            panel.minorticks_off()
            panel.margins(0.1, 0.15)
            panel.set(xlabel=axis, ylabel=label if column == 0 else "")
            panel.grid(alpha=0.3)
        panels[0, column].legend(frameon=False, fontsize=9)
    with picture_file(path, overwrite=True) as partial:
        figure.savefig(partial)


if __name__ == "__main__":
    main()
