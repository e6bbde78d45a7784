"""How well images of several classes are told, or numbers of images: figures of all answers at once."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np


class LabelScore(NamedTuple):
    """How well one of several classes is found.

    Attributes:
        images: of the class.
        average_precision: as `average_precision`; NaN if no image has the class.
        threshold: probability from which on it is predicted.
        precision: share of the images that it is predicted for that have it; 0 if there are none.
        recall: share of its images that it is predicted for; 0 if there are none.
        f1: harmonic mean of the two.
    """

    images: int
    average_precision: float
    threshold: float
    precision: float
    recall: float
    f1: float


class NumberScore(NamedTuple):
    """How far answers are from the numbers.

    Attributes:
        mae: mean absolute error, in the unit of the numbers.
        rmse: root of the mean squared error, likewise.
        r2: share of the variance of the numbers that is told; below 0 where their mean would be the better answer, NaN
            where all numbers are the same.
    """

    mae: float
    rmse: float
    r2: float


def average_precision(labels: np.ndarray, probabilities: np.ndarray) -> float:
    """Mean precision over all images of a class, each at the threshold that just finds it.

    Equal to `sklearn.metrics.average_precision_score`: the sum of (R_n - R_{n-1}) P_n, without interpolation.

    Args:
        labels: bool (N,), which images have the class.
        probabilities: float (N,), or logits.

    Returns:
        In [0, 1]; NaN if no image has the class.
    """
    found, taken, _ = _found_at(labels, probabilities)
    if not found[-1]:
        return float("nan")
    recall = np.diff(found, prepend=0) / found[-1]
    return float(np.sum(recall * found / taken))


def best_threshold(labels: np.ndarray, probabilities: np.ndarray) -> float:
    """The threshold with the highest F1: half way between two answers.

    Args:
        labels: bool (N,), which images have the class.
        probabilities: float (N,).

    Returns:
        A half if no image or every image has the class, which says nothing.
    """
    if labels.all() or not labels.any():
        return 0.5
    found, taken, values = _found_at(labels, probabilities)
    best = int(np.argmax(2 * found / (taken + found[-1])))
    below = values[best + 1] if best + 1 < len(values) else 0.0
    return float((values[best] + below) / 2)


def label_losses(labels: np.ndarray, logits: np.ndarray) -> np.ndarray:
    """Cross-entropy of each class of each image, in nats, from logits of any size.

    Args:
        labels: (N, K), above 0 where an image has a class.
        logits: float (N, K).

    Returns:
        float (N, K).
    """
    return np.logaddexp(0, np.where(labels > 0, -logits, logits))


def label_scores(labels: np.ndarray, probabilities: np.ndarray, thresholds: Sequence[float]) -> list[LabelScore]:
    """How well each of several classes is found.

    Args:
        labels: bool (N, K), which images have which classes.
        probabilities: float (N, K).
        thresholds: K, as `best_threshold` gives them for other images.
    """
    scores = []
    for has, given, threshold in zip(labels.T, probabilities.T, thresholds, strict=True):
        predicted = given >= threshold
        right, true, taken = int((predicted & has).sum()), int(has.sum()), int(predicted.sum())
        f1 = 2 * right / max(true + taken, 1)
        precision, recall = right / max(taken, 1), right / max(true, 1)
        scores.append(LabelScore(true, average_precision(has, given), float(threshold), precision, recall, f1))
    return scores


def mean_average_precision(scores: Sequence[LabelScore]) -> float:
    """Mean over the classes that have images; NaN without any."""
    known = [score.average_precision for score in scores if score.images]
    return float(np.mean(known)) if known else float("nan")


def figures_of_labels(
    labels: np.ndarray, probabilities: np.ndarray, thresholds: Sequence[float], class_names: Sequence[str]
) -> dict[str, Any]:
    """All figures of images of several classes, as JSON has them: what is not known is None.

    Args:
        labels: bool (N, K), which images have which classes.
        probabilities: float (N, K).
        thresholds: K, probabilities from which on a class is predicted.
        class_names: K names.

    Returns:
        `map`, the mean average precision; `macro_f1`, the mean over the classes that have images; `exact`, the share of
        images about which every class is right; `classes`, a `LabelScore` and the name of each.
    """
    scores = label_scores(labels, probabilities, thresholds)
    rows = [{"name": name, **score._asdict()} for name, score in zip(class_names, scores, strict=True)]
    return {
        "map": _known(mean_average_precision(scores)),
        "macro_f1": float(np.mean([score.f1 for score in scores if score.images] or [0.0])),
        "exact": float(((probabilities >= thresholds) == labels).all(axis=1).mean()),
        "classes": [{name: _known(value) for name, value in row.items()} for row in rows],
    }


def figures_of_numbers(numbers: np.ndarray, answers: np.ndarray) -> dict[str, Any]:
    """A `NumberScore`, as JSON has it: what is not known is None."""
    return {name: _known(value) for name, value in number_score(numbers, answers)._asdict().items()}


def _known(value: Any) -> Any:
    return None if value != value else value


def number_score(numbers: np.ndarray, answers: np.ndarray) -> NumberScore:
    """How far answers (N,) are from numbers (N,)."""
    errors = np.asarray(answers, np.float64) - numbers
    variance = np.mean((numbers - np.mean(numbers)) ** 2)
    squared = np.mean(errors**2)
    r2 = 1 - squared / variance if variance else float("nan")
    return NumberScore(float(np.abs(errors).mean()), float(np.sqrt(squared)), float(r2))


def _found_at(labels: np.ndarray, probabilities: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """At each threshold that a probability is: images of the class from there on, all images from there on, and it."""
    order = np.argsort(-probabilities, kind="stable")
    values = probabilities[order]
    last = np.append(np.flatnonzero(np.diff(values)), len(values) - 1)
    return np.cumsum(labels[order])[last], last + 1, values[last]
