"""What is measured in a run, and the files that show it."""

import csv
import logging
import pathlib
import time
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_nest.files import atomic_output
from keras_nest.training.schedules import WarmupDecay

_LOGGER = logging.getLogger(__name__)
COLUMNS = (
    "epoch",
    "step",
    "loss",
    "accuracy",
    "eval_loss",
    "eval_accuracy",
    "learning_rate",
    "seconds",
    "images_per_second",
)


class Recorder(keras.callbacks.Callback):
    """Keeps one row of `COLUMNS` for each epoch.

    Training values are means over the epoch, while the weights change; `eval_` values belong to its end. The learning
    rate is that of the last update; seconds are those of the whole run so far.

    Args:
        schedule: the learning rates.
        images_per_epoch: training images that an epoch visits.
    """

    def __init__(self, schedule: WarmupDecay, images_per_epoch: int) -> None:
        super().__init__()
        self.rows: list[dict[str, float]] = []
        self._schedule, self._images_per_epoch = schedule, images_per_epoch

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
        self._start = time.perf_counter()

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self._epoch_start = time.perf_counter()

    def on_test_begin(self, logs: dict[str, float] | None = None) -> None:
        self._trained = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        step = int(self.model.optimizer.iterations)
        row = {name.replace("val_", "eval_"): value for name, value in (logs or {}).items()}
        row |= {"epoch": epoch + 1, "step": step, "learning_rate": float(self._schedule.at(step))}
        row["seconds"] = time.perf_counter() - self._start
        row["images_per_second"] = self._images_per_epoch / (self._trained - self._epoch_start)
        self.rows.append({column: row[column] for column in COLUMNS})

    @property
    def seconds(self) -> float:
        """Duration of the training, evaluation after each epoch included."""
        return self.rows[-1]["seconds"]


def evaluate(model: keras.Model, batches: tf.data.Dataset) -> dict[str, float]:
    """Quality on labelled images.

    Args:
        model: normalised images -> logits.
        batches: normalised images (B, H, W, C) and labels (B,) int.

    Returns:
        top1 and top5 as shares in [0, 1], the mean cross-entropy as `loss`, and the number of `examples`.
    """
    forward = tf.function(lambda images: model(images, training=False), autograph=False)
    results = [(forward(images).numpy(), answers.numpy()) for images, answers in batches]
    logits, labels = (np.concatenate(parts) for parts in zip(*results, strict=True))
    losses = keras.losses.sparse_categorical_crossentropy(labels, logits, from_logits=True)
    # Written so that an answer of NaN ranks last.
    rank = np.sum(~(logits <= np.take_along_axis(logits, labels[:, None], 1)), axis=1)
    return {
        "top1": float(np.mean(rank == 0)),
        "top5": float(np.mean(rank < 5)),
        "loss": float(np.mean(losses)),
        "examples": len(labels),
    }


def write_history(path: pathlib.Path, rows: list[dict[str, float]]) -> None:
    """Writes the rows of a `Recorder` as CSV."""
    with atomic_output(path, overwrite=True) as partial, partial.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)


def read_history(path: pathlib.Path) -> list[dict[str, float]]:
    """Inverse of `write_history`."""
    with path.open(newline="", encoding="utf-8") as file:
        return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]


def write_curves(path: pathlib.Path, rows: list[dict[str, float]]) -> None:
    """Draws loss and accuracy over the epochs; without matplotlib the picture is left out, which is logged."""
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError:
        _LOGGER.warning("%s is left out: matplotlib is not installed (pip install keras-nest[demo]).", path.name)
        return
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    draw_curves(figure.subplots(1, 2), rows)
    with atomic_output(path, overwrite=True) as partial:
        figure.savefig(partial, dpi=120)


def draw_curves(axes: Any, rows: list[dict[str, float]]) -> None:
    """Draws loss (first axes, logarithmic) and accuracy (second axes, in percent) of training and evaluation.

    Args:
        axes: two matplotlib axes.
        rows: of a `Recorder`.
    """
    epochs = [row["epoch"] for row in rows]
    for axis, quantity, scale in zip(axes, ("loss", "accuracy"), (1, 100), strict=True):
        evaluated = [scale * row[f"eval_{quantity}"] for row in rows]
        axis.plot(epochs, [scale * row[quantity] for row in rows], label="training (augmented)", color="tab:gray")
        axis.plot(epochs, evaluated, label="test", color="tab:blue")
        axis.plot(epochs[-1], evaluated[-1], "o", color="tab:blue")
        axis.grid(alpha=0.3)
        axis.set_xlabel("epoch")
    axes[0].set(yscale="log", title=f"loss (test, at the end: {rows[-1]['eval_loss']:.3f})")
    axes[1].set(title=f"accuracy in % (test, at the end: {100 * rows[-1]['eval_accuracy']:.2f})")
    axes[0].legend()
