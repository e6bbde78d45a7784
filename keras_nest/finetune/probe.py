"""The head, fit to features that are computed once: what is known as a linear probe.

The network below the head is run once over each image, as it is in evaluation. A regression on its features (logistic
of classes, of several one for each, with a penalty of numbers) takes seconds where steps through the network take
minutes, and has no learning rate.
"""

import pathlib
import time
import warnings
import zipfile
from collections.abc import Callable
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf
from rich.progress import track

from keras_nest.console import console
from keras_nest.files import atomic_output
from keras_nest.models.base import ImageModel
from keras_nest.optional import import_optional
from keras_nest.scores import label_losses, label_scores, mean_average_precision, number_score
from keras_nest.targets import MULTI_LABEL, REGRESSION, SINGLE_LABEL

# Inverse strengths of the regularization, of which the validation part chooses.
_STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)
_ITERATIONS = 1000
_LEAST_DEVIATION = 1e-6


class Features(NamedTuple):
    """What the head sees.

    Attributes:
        values: float32 (N, C).
        labels: int32 (N,), or float32 (N, K) as `keras_nest.targets` encodes them.
        seconds: that it took an image.
    """

    values: np.ndarray
    labels: np.ndarray
    seconds: float = 0.0


class Head(NamedTuple):
    """Weights of a linear model.

    Attributes:
        kernel: float32 (C, K).
        bias: float32 (K,).
        score: on the validation images: the share that it names rightly, of several classes the mean average precision,
            of numbers the share of their variance (R²).
    """

    kernel: np.ndarray
    bias: np.ndarray
    score: float

    def answers(self, features: Features) -> np.ndarray:
        """Logits, or numbers, float (N, K)."""
        return features.values @ self.kernel + self.bias


def features_of(model: ImageModel) -> keras.Model:
    """The network below the head: images -> (B, C), which shares all layers."""
    return keras.Model(model.input, model.endpoints["pre_logits"])


def embed(model: ImageModel, batches: tf.data.Dataset, what: str) -> Features:
    """Features of images.

    Args:
        model: its head is not used.
        batches: of `keras_nest.data.eval_batches`: images, labels, and weights that are 0 for what only fills up.
        what: these images are, for the progress bar.
    """
    network = tf.function(features_of(model))
    values, labels, start = [], [], time.perf_counter()
    hidden = not console.is_terminal
    for images, classes, weights in track(
        batches, f"Features of {what} images", console=console, transient=True, disable=hidden
    ):
        kept = weights.numpy() > 0
        values.append(network(images, training=False).numpy()[kept])
        labels.append(classes.numpy()[kept])
    found = np.concatenate(labels)
    return Features(np.concatenate(values), found, (time.perf_counter() - start) / len(found))


def fit_head(train: Features, val: Features, is_balanced: bool, task: str = SINGLE_LABEL) -> Head:
    """Regressions on the features of training images, of which the best on those of validation is taken.

    Args:
        train: of training images, with each class from 0 to K - 1 among them.
        val: of validation images.
        is_balanced: all classes count the same.
        task: one of `keras_nest.choices.TASKS`.

    Raises:
        ValueError: the features are not finite.
    """
    if not (np.isfinite(train.values).all() and np.isfinite(val.values).all()):
        raise ValueError("Features of images are infinite or not a number; the weights of the model must be damaged.")
    mean, std = train.values.mean(axis=0), train.values.std(axis=0) + _LEAST_DEVIATION
    scaled = train._replace(values=(train.values - mean) / std)
    heads = []
    for strength in _STRENGTHS:
        kernel, bias = _regress(scaled, strength, is_balanced, task)
        kernel = kernel / std[:, None]
        head = Head(kernel.astype(np.float32), (bias - mean @ kernel).astype(np.float32), 0.0)
        heads.append((_MEASURES[task](head.answers(val), val.labels), head))
    (score, _), best = max(heads, key=lambda measured: measured[0])
    return best._replace(score=score)


def put(head: Head, model: ImageModel) -> None:
    """Gives a model the head."""
    model.get_layer(model.HEAD[-1]).set_weights([head.kernel, head.bias])


def get_head(model: ImageModel) -> Head:
    """The head that a model has; its score is not known, and 0."""
    kernel, bias = model.get_layer(model.HEAD[-1]).get_weights()
    return Head(kernel, bias, 0.0)


def write_head(head: Head, path: pathlib.Path) -> None:
    """Writes a head, completely or not at all."""
    with atomic_output(path, overwrite=True) as partial:
        np.savez(partial, **head._asdict())


def read_head(path: pathlib.Path) -> Head | None:
    """Inverse of `write_head`; None where there is no such file, or no whole one."""
    try:
        with path.open("rb") as file, np.load(file) as arrays:
            return Head(arrays["kernel"], arrays["bias"], float(arrays["score"]))
    except (OSError, ValueError, KeyError, zipfile.BadZipFile):
        return None


def _regress(features: Features, strength: float, is_balanced: bool, task: str) -> tuple[np.ndarray, np.ndarray]:
    """Kernel (C, K) and bias (K,) of a regression."""
    linear = import_optional("sklearn.linear_model", "The head is fit by scikit-learn", "scikit-learn")
    if task == REGRESSION:
        ridge = linear.Ridge(alpha=1 / strength).fit(features.values, features.labels[:, 0])
        return ridge.coef_[:, None], np.array([ridge.intercept_])

    def fit(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        weight = "balanced" if is_balanced else None
        regression = linear.LogisticRegression(C=strength, max_iter=_ITERATIONS, class_weight=weight)
        with warnings.catch_warnings():
            # Where it does not come to its end, what it has is a classifier too, and measured as such.
            warnings.simplefilter("ignore")
            regression.fit(features.values, labels)
        return regression.coef_.T, regression.intercept_

    if task == MULTI_LABEL:
        columns = [_constant(has, features) or fit(has > 0) for has in features.labels.T]
        return np.hstack([kernel for kernel, _ in columns]), np.concatenate([bias for _, bias in columns])
    kernel, bias = fit(features.labels)
    # Of two classes there is one logit, the difference of theirs.
    return (kernel, bias) if len(bias) > 1 else (np.hstack([-kernel, kernel]) / 2, np.hstack([-bias, bias]) / 2)


def _constant(has: np.ndarray, features: Features) -> tuple[np.ndarray, np.ndarray] | None:
    """The answer to a class that all images have or none, as likely as with one image that is otherwise."""
    if 0 < has.sum() < len(has):
        return None
    logit = np.log(len(has) + 1.0)
    return np.zeros((features.values.shape[1], 1)), np.array([logit if has.any() else -logit])


def _measure_classes(logits: np.ndarray, labels: np.ndarray) -> tuple[float, float]:
    """Accuracy, and the mean logarithm of the probability of the right class."""
    logits = logits - logits.max(axis=1, keepdims=True)
    right = np.take_along_axis(logits, labels[:, None], axis=1)[:, 0]
    likelihood = right - np.log(np.exp(logits).sum(axis=1))
    return float(np.mean(logits.argmax(axis=1) == labels)), float(likelihood.mean())


def _measure_several(logits: np.ndarray, labels: np.ndarray) -> tuple[float, float]:
    """Mean average precision, and the mean logarithm of the probability of what is right about each class."""
    scores = label_scores(labels > 0, logits, [0.0] * logits.shape[1])
    return np.nan_to_num(mean_average_precision(scores)), -float(label_losses(labels, logits).mean())


def _measure_numbers(answers: np.ndarray, labels: np.ndarray) -> tuple[float, float]:
    """R², and the negative squared error, by which the same is best where R² says nothing."""
    score = number_score(labels[:, 0], answers[:, 0])
    return np.nan_to_num(score.r2), -score.rmse


_MEASURES: dict[str, Callable[[np.ndarray, np.ndarray], tuple[float, float]]] = {
    SINGLE_LABEL: _measure_classes,
    MULTI_LABEL: _measure_several,
    REGRESSION: _measure_numbers,
}
