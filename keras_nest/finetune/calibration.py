"""Probabilities that can be believed: one temperature for all logits, inside the head, so that every export has it."""

import numpy as np

from keras_nest.finetune.probe import Features, Head
from keras_nest.optional import import_optional
from keras_nest.scores import label_losses

_LARGEST = 20.0  # temperature, and its inverse the smallest


def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """The temperature that makes labels most likely where logits are divided by it; which class is first stays.

    Source: Guo et al., "On Calibration of Modern Neural Networks", ICML 2017.

    Args:
        logits: float (N, K), of images that the weights were not trained with.
        labels: integer (N,); or (N, K), 1 for each class that an image has.

    Returns:
        Above 1 where the model is too sure of itself. 1 where all images are right: the lower the temperature, the more
        likely the labels would be then, without end.
    """
    logits, labels = np.asarray(logits, np.float64), np.asarray(labels)
    right = logits.argmax(axis=1) == labels if labels.ndim == 1 else (logits > 0) == (labels > 0)
    if right.all():
        return 1.0
    optimize = import_optional("scipy.optimize", "A temperature is fit by SciPy", "scipy")
    bounds = (-np.log(_LARGEST), np.log(_LARGEST))
    found = optimize.minimize_scalar(lambda log: _loss(logits / np.exp(log), labels), bounds=bounds, method="bounded")
    return float(np.exp(found.x))


def at_temperature(head: Head, val: Features) -> tuple[Head, float]:
    """The head whose logits are divided by the temperature that fits them, and the temperature.

    Args:
        head: of the model.
        val: features of validation images.
    """
    temperature = fit_temperature(head.answers(val), val.labels)
    return head._replace(kernel=head.kernel / temperature, bias=head.bias / temperature), temperature


def _loss(logits: np.ndarray, labels: np.ndarray) -> float:
    """Mean cross-entropy."""
    if labels.ndim == 2:
        return float(label_losses(labels, logits).mean())
    shifted = logits - logits.max(axis=1, keepdims=True)
    right = np.take_along_axis(shifted, labels[:, None], axis=1)[:, 0]
    return float(np.mean(np.log(np.exp(shifted).sum(axis=1)) - right))
