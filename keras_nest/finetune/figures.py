"""How well a model does on images that have several classes, or a number: all answers at once, and exactly."""

from typing import Any

import numpy as np

from keras_nest.data import DatasetInfo
from keras_nest.finetune.probe import Features, Head
from keras_nest.scores import best_threshold, figures_of_labels, figures_of_numbers, label_losses
from keras_nest.targets import MULTI_LABEL


def measure_head(head: Head, val: Features, measured: Features, info: DatasetInfo) -> dict[str, Any]:
    """Figures of metrics.json.

    Args:
        head: of the model.
        val: features of the validation images, which choose thresholds.
        measured: of those that are measured.
        info: of the data set.

    Returns:
        Those of `keras_nest.scores`, numbers in their own unit, with the thresholds that have the highest F1 on the
        validation images; `loss`, as it was trained with; and `examples`.
    """
    measure = _measure_classes if info.target.task == MULTI_LABEL else _measure_numbers
    return measure(head, val, measured, info) | {"examples": len(measured.labels)}


def _measure_classes(head: Head, val: Features, measured: Features, info: DatasetInfo) -> dict[str, Any]:
    thresholds = [best_threshold(has > 0, given) for has, given in zip(val.labels.T, _shares(head, val).T, strict=True)]
    logits, labels = head.answers(measured), measured.labels > 0
    loss = float(label_losses(labels, logits).sum(axis=1).mean())
    return figures_of_labels(labels, _shares(head, measured), thresholds, info.class_names) | {"loss": loss}


def _measure_numbers(head: Head, val: Features, measured: Features, info: DatasetInfo) -> dict[str, Any]:
    mean, deviation = info.scale
    truth, answers = (mean + deviation * given[:, 0] for given in _in_float64(measured.labels, head.answers(measured)))
    loss = float(np.mean(((answers - truth) / deviation) ** 2))
    return figures_of_numbers(truth, answers) | {"loss": loss}


def _in_float64(*arrays: np.ndarray) -> list[np.ndarray]:
    return [array.astype(np.float64) for array in arrays]


def _shares(head: Head, features: Features) -> np.ndarray:
    """Probabilities, float64 (N, K)."""
    return 1 / (1 + np.exp(-head.answers(features).astype(np.float64)))
