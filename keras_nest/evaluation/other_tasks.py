"""How good a model is on images that have several classes, or a number."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from keras_nest.evaluation.images import LabeledImages, Tell
from keras_nest.evaluation.measure import Progress, batches, match_classes
from keras_nest.predict.predictor import Predictor
from keras_nest.scores import figures_of_labels, figures_of_numbers
from keras_nest.targets import REGRESSION

_SMALLEST = 1e-12  # probability, of which a logarithm is still a number
HALF = 0.5
"""Threshold of a class for which the training found none."""


class AllAnswers(NamedTuple):
    """What a model said about N images.

    Attributes:
        names: N names of the images.
        truth: float64 (N, K), 1 for each class that an image has; or the numbers (N, 1).
        answers: float64 (N, K), probabilities; or numbers (N, 1).
        class_names: K names of the classes, or of the number.
        thresholds: K probabilities from which on a class is predicted; of a number not looked at.
        task: one of `keras_nest.choices.TASKS`.
    """

    names: tuple[str, ...]
    truth: np.ndarray
    answers: np.ndarray
    class_names: tuple[str, ...]
    thresholds: tuple[float, ...]
    task: str

    @property
    def losses(self) -> np.ndarray:
        """Float64 (N,): cross-entropy, summed over the classes, in nats; or the squared error, in units squared."""
        if self.task == REGRESSION:
            return (self.answers - self.truth)[:, 0] ** 2
        right = np.where(self.truth > 0, self.answers, 1 - self.answers)
        return -np.log(np.maximum(right, _SMALLEST)).sum(axis=1)

    @property
    def predicted(self) -> np.ndarray:
        """Bool (N, K), which classes are predicted."""
        return self.answers >= self.thresholds

    def figures(self) -> dict[str, Any]:
        """All figures, as JSON has them: those of `keras_nest.scores`, `examples`, and the mean `loss`."""
        common = {"examples": len(self.names), "loss": float(self.losses.mean())}
        if self.task == REGRESSION:
            return common | figures_of_numbers(self.truth[:, 0], self.answers[:, 0])
        return common | figures_of_labels(self.truth > 0, self.answers, self.thresholds, self.class_names)


def ask_all(
    predictor: Predictor,
    images: LabeledImages,
    tell: Tell,
    batch_size: int = 32,
    progress: Progress = lambda images, count: images,
    metrics: Mapping[str, Any] | None = None,
) -> AllAnswers:
    """Asks a model about all images.

    Args:
        predictor: the model, which prepares images as its own evaluation does.
        images: which have several classes that the model knows, or a number.
        tell: is given a sentence on each image that cannot be read, which is left out.
        batch_size: images at a time, at most.
        progress: is shown meanwhile.
        metrics: of its training, whose thresholds are taken; without any, a half.

    Raises:
        ValueError: the model lacks a class, does not give what the images tell, or its answers are no numbers; or no
            image can be read.
    """
    task = images.target.task
    if (task == REGRESSION) != predictor.gives_numbers:
        gives = "numbers" if predictor.gives_numbers else "classes"
        raise ValueError(f"The model gives {gives}, and {images.name} is for {task}; see --task.")
    places = {} if task == REGRESSION else match_classes(images.labels, predictor, images.name)
    names: list[str] = []
    truth, answers = [], []
    for batch in batches(progress(images.read(tell), images.count), batch_size):
        given = predictor.answers([image.pixels for image in batch]).astype(np.float64)
        if not np.isfinite(given).all():
            raise ValueError(f"The model does not answer with numbers, of {batch[0].name} for one (NaN or infinity).")
        encoded = images.target.encode([image.label for image in batch], images.labels)
        names += [image.name for image in batch]
        truth.append(encoded if task == REGRESSION else _among(encoded, images.labels, places, given.shape[1]))
        answers.append(given)
    if not names:
        raise ValueError(f"No image of {images.name} can be read.")
    class_names = predictor.class_names or images.labels
    thresholds = _thresholds(class_names, metrics or {})
    return AllAnswers(tuple(names), np.concatenate(truth), np.concatenate(answers), class_names, thresholds, task)


def _among(encoded: np.ndarray, labels: Sequence[str], places: Mapping[str, int], count: int) -> np.ndarray:
    """What is told of the classes of the images, (B, k), among all classes of the model, (B, K)."""
    truth = np.zeros((len(encoded), count))
    truth[:, [places[name] for name in labels]] = encoded
    return truth


def _thresholds(class_names: Sequence[str], metrics: Mapping[str, Any]) -> tuple[float, ...]:
    """Thresholds of a model's classes: those that its training found, else a half."""
    known = {row["name"]: row.get("threshold") for row in metrics.get("classes", ())}
    found = [known.get(name) for name in class_names]
    return tuple(HALF if threshold is None else threshold for threshold in found)
