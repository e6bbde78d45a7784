"""Metrics of classifiers; labels are classes or, where images are mixed, probabilities."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import KerasTensor as Tensor
from keras import ops


def accuracy(labels: Tensor, logits: Tensor) -> Tensor:
    """Whether each image's most likely class is right; of a mixed image, the class with the larger share.

    Args:
        labels: integer (B,) or float (B, K), as above.
        logits: float (B, K).

    Returns:
        float32 (B,), 1 or 0.
    """
    return in_top(1, labels, logits)


def top5(labels: Tensor, logits: Tensor) -> Tensor:
    """Whether each image's class is among the five most likely; shapes as for `accuracy`."""
    return in_top(5, labels, logits)


def in_top(count: int, labels: Tensor, logits: Tensor) -> Tensor:
    """Whether fewer than `count` other classes are as likely as the right one; shapes as for `accuracy`.

    An answer of NaN is wrong.
    """
    classes = ops.argmax(labels, axis=-1) if len(labels.shape) == len(logits.shape) else labels
    right = ops.take_along_axis(logits, ops.cast(classes, "int32")[:, None], axis=-1)
    # Written so that NaN counts as ahead; the right class itself is always counted.
    ahead = ops.sum(ops.cast(ops.logical_not(logits < right), "int32"), axis=-1)
    return ops.cast(ops.logical_and(ahead <= count, ops.logical_not(ops.isnan(right[:, 0]))), "float32")


def accuracy_of_classes(labels: Tensor, logits: Tensor) -> Tensor:
    """Share of the classes about which it is right that the image has them, or has them not.

    Args:
        labels: float (B, K), 1 for each class that an image has.
        logits: float (B, K); a class is predicted above 0, where its probability is above a half.

    Returns:
        float32 (B,).
    """
    return ops.mean(ops.cast(ops.equal(labels > 0.5, logits > 0), "float32"), axis=-1)


def absolute_error(labels: Tensor, outputs: Tensor) -> Tensor:
    """Absolute error of numbers: (B, K), (B, K) -> float32 (B,), means over K."""
    return ops.mean(ops.abs(ops.cast(outputs, "float32") - ops.cast(labels, "float32")), axis=-1)


@keras.saving.register_keras_serializable(package="keras_nest")
class ConfusionMatrix(keras.metrics.Metric):
    """Accuracy that remembers which class was taken for which.

    Args:
        num_classes: K.
        name: name of the metric.
        dtype: as for every metric.
    """

    def __init__(self, num_classes: int, name: str = "accuracy", dtype: Any = None) -> None:
        super().__init__(name=name, dtype=dtype)
        self.num_classes = num_classes
        self.counts = self.add_variable((num_classes, num_classes), initializer="zeros", name="counts")

    def update_state(self, labels: Tensor, logits: Tensor, sample_weight: Tensor | None = None) -> None:
        """Counts images: labels and logits as for `accuracy`, weights (B,)."""
        classes = ops.argmax(labels, axis=-1) if len(labels.shape) == len(logits.shape) else labels
        true = ops.one_hot(ops.cast(classes, "int32"), self.num_classes, dtype=self.dtype)
        # What `accuracy` calls wrong, ties and NaN too, is the best of the other classes.
        wrong = ops.argmax(ops.where(true > 0, -math.inf, ops.nan_to_num(logits, nan=math.inf)), axis=-1)
        wrong = ops.one_hot(wrong, self.num_classes, dtype=self.dtype)
        predicted = ops.where(accuracy(labels, logits)[:, None] > 0, true, wrong)
        if sample_weight is not None:
            true = true * ops.cast(sample_weight, self.dtype)[:, None]
        self.counts.assign(self.counts + ops.matmul(ops.transpose(true), predicted))

    def result(self) -> Tensor:
        """Share of images on the diagonal, scalar; `counts` (K, K) has a row for each true class."""
        return ops.divide_no_nan(ops.trace(self.counts), ops.sum(self.counts))

    def get_config(self) -> dict[str, Any]:
        """Arguments of the constructor."""
        return {**super().get_config(), "num_classes": self.num_classes}


@keras.saving.register_keras_serializable(package="keras_nest")
class MeanAveragePrecision(keras.metrics.Metric):
    """Mean average precision of images of several classes, batch by batch.

    That of `keras_nest.scores`, but for logits that lie in the same of many equal bins from -10 to 10, which are not
    told apart: 10,000 bins of up to 200 classes, fewer of more.

    Args:
        num_classes: K.
        name: name of the metric.
        dtype: as for every metric.
    """

    def __init__(self, num_classes: int, name: str = "map", dtype: Any = None) -> None:
        super().__init__(name=name, dtype=dtype)
        self.num_classes = num_classes
        self._bins = max(500, min(10_000, 2_000_000 // num_classes))
        shape = (num_classes, self._bins)
        self.having = self.add_variable(shape, initializer="zeros", name="having")
        self.all = self.add_variable(shape, initializer="zeros", name="all")

    def update_state(self, labels: Tensor, logits: Tensor, sample_weight: Tensor | None = None) -> None:
        """Counts images: labels (B, K), 1 for each class that an image has, logits (B, K) and weights (B,)."""
        # The highest come first; the bins of one class follow those of another.
        places = ops.cast((0.5 - ops.cast(logits, "float32") / 20) * self._bins, "int32")
        places = ops.clip(places, 0, self._bins - 1) + self._bins * ops.arange(self.num_classes)
        images = ops.ones_like(labels, dtype=self.dtype)
        if sample_weight is not None:
            images = images * ops.cast(sample_weight, self.dtype)[:, None]
        self._add(self.having, places, images * ops.cast(labels, self.dtype))
        self._add(self.all, places, images)

    def _add(self, counts: keras.Variable, places: Tensor, images: Tensor) -> None:
        size = self.num_classes * self._bins
        found = ops.segment_sum(ops.reshape(images, (-1,)), ops.reshape(places, (-1,)), size)
        counts.assign(counts + ops.reshape(found, (self.num_classes, self._bins)))

    def result(self) -> Tensor:
        """Mean over the classes that have images, scalar; 0 without any."""
        found, taken = ops.cumsum(self.having, axis=1), ops.cumsum(self.all, axis=1)
        images = found[:, -1]
        precision = ops.divide_no_nan(found, taken)
        averages = ops.divide_no_nan(ops.sum(self.having * precision, axis=1), images)
        return ops.divide_no_nan(ops.sum(averages), ops.sum(ops.cast(images > 0, self.dtype)))

    def get_config(self) -> dict[str, Any]:
        """Arguments of the constructor."""
        return {**super().get_config(), "num_classes": self.num_classes}


class ClassScore(NamedTuple):
    """How well one class is recognized.

    Attributes:
        images: of the class.
        precision: share of the images taken for the class that are of it; 0 if there are none.
        recall: share of its images that are taken for it; 0 if there are none.
        f1: harmonic mean of the two.
    """

    images: int
    precision: float
    recall: float
    f1: float


def class_scores(confusion: np.ndarray) -> list[ClassScore]:
    """How well each class is recognized.

    Args:
        confusion: integer (K, K), a row for each true class, a column for each predicted one.
    """
    right, true, taken = np.diag(confusion), confusion.sum(axis=1), confusion.sum(axis=0)
    precision, recall = right / np.maximum(taken, 1), right / np.maximum(true, 1)
    f1 = 2 * right / np.maximum(true + taken, 1)
    columns = (column.tolist() for column in (true, precision, recall, f1))
    return [ClassScore(*row) for row in zip(*columns, strict=True)]


class Bin(NamedTuple):
    """Images of which a model is about equally sure.

    Attributes:
        low: their least probability of the predicted class, which is not in the bin but where it is 0.
        high: the greatest, which is.
        images: how many there are.
        confidence: the mean of their probabilities; 0 if there are none.
        accuracy: share of those that are right; 0 if there are none.
    """

    low: float
    high: float
    images: int
    confidence: float
    accuracy: float


def reliability(confidence: np.ndarray, right: np.ndarray, bins: int = 15) -> list[Bin]:
    """How often a model is right where it is so sure: the points of a reliability diagram.

    Source: Guo et al., "On Calibration of Modern Neural Networks", ICML 2017, with bins of equal width.

    Args:
        confidence: float (N,), probability of the predicted class, in [0, 1].
        right: bool (N,), whether it is the right one.
        bins: number of bins.
    """
    numbers = np.clip(np.ceil(np.asarray(confidence, np.float64) * bins).astype(int) - 1, 0, bins - 1)
    images = np.bincount(numbers, minlength=bins)
    means = (np.bincount(numbers, values, bins) / np.maximum(images, 1) for values in (confidence, right))
    columns = (column.tolist() for column in (images, *means))
    return [Bin(k / bins, (k + 1) / bins, *row) for k, row in enumerate(zip(*columns, strict=True))]


def calibration_error(bins: Sequence[Bin]) -> float:
    """Expected calibration error (ECE): how far probability and accuracy are apart, on average over the images.

    Args:
        bins: of `reliability`.
    """
    images = max(1, sum(each.images for each in bins))
    return sum(each.images * abs(each.accuracy - each.confidence) for each in bins) / images
