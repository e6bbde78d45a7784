"""How good a model is on labelled images."""

import time
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_nest.metrics import ConfusionMatrix, accuracy, top5
from keras_nest.models.base import logits_model
from keras_nest.models.losses import LOSSES
from keras_nest.training.trainer import Trainer

# More classes than that nobody can read in a picture.
CLASSES_SHOWN = 100
_LOSS = "plain_loss"


class Evaluator:
    """Evaluates one model again and again, on every replica of the strategy it was made under.

    Attributes:
        measured: what the last evaluation returned; empty before the first.

    Args:
        model: normalised images -> logits, or one of this package whose output is their probabilities.
        loss: one of `LOSSES`.
        num_classes: K; up to `CLASSES_SHOWN` the confusion matrix is kept.
        jit_compile: as for `compile`.
    """

    def __init__(self, model: keras.Model, loss: str, num_classes: int, jit_compile: Any = "auto") -> None:
        self._trainer = Trainer(logits_model(model))
        known = num_classes <= CLASSES_SHOWN
        first = ConfusionMatrix(num_classes) if known else keras.metrics.MeanMetricWrapper(accuracy, name="accuracy")
        self._confusion = first if known else None
        self.measured: dict[str, float] = {}
        fifth = keras.metrics.MeanMetricWrapper(top5, name="top5")
        plain = keras.metrics.MeanMetricWrapper(LOSSES[loss], name=_LOSS)
        self._trainer.compile(None, LOSSES[loss], weighted_metrics=[first, fifth, plain], jit_compile=jit_compile)

    def __call__(self, batches: tf.data.Dataset | tf.distribute.DistributedDataset) -> dict[str, float]:
        """Quality on test batches.

        Args:
            batches: normalised images (B, H, W, C), labels (B,) and weights (B,), which are 0 for what only fills up.

        Returns:
            accuracy and top5 as shares in [0, 1], the mean loss, and the `seconds` it took.
        """
        start = time.perf_counter()
        measured = self._trainer.evaluate(batches, verbose=0, return_dict=True)
        # That of Keras has the model's regularisation in it.
        measured["loss"] = measured.pop(_LOSS)
        self.measured = {name: float(value) for name, value in measured.items()}
        self.measured["seconds"] = time.perf_counter() - start
        return self.measured

    @property
    def confusion(self) -> np.ndarray | None:
        """Counts of the last evaluation, int64 (K, K): a row for each true class, a column for each predicted one."""
        return None if self._confusion is None else np.rint(self._confusion.counts.numpy()).astype(np.int64)


def metrics_of(measured: Mapping[str, float], examples: int) -> dict[str, Any]:
    """What an `Evaluator` measured on a number of images, as metrics.json has it."""
    return {
        "top1": measured["accuracy"],
        "top5": measured["top5"],
        "loss": measured["loss"],
        "examples": examples,
        "eval_images_per_second": examples / measured["seconds"],
    }
