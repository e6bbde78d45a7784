"""What a classifier of ImageNet answers, in words."""

import logging
from typing import Any

import numpy as np

from keras_nest.imagenet.classes import find_dataset, read_classes

_LOGGER = logging.getLogger("keras_nest")
# Of the sum of a row of probabilities, in half precision too.
_TOLERANCE = 1e-2


def decode_predictions(
    predictions: Any, top: int = 5, from_logits: bool | None = None
) -> list[list[tuple[str, str, float]]]:
    """Names of the most probable classes of ImageNet, as `keras.applications` gives them.

    Args:
        predictions: (B, 1000) or (B, 21843), logits or probabilities of a model with a published head.
        top: classes for each image.
        from_logits: whether they are logits, of which the softmax is taken. None goes by the values: rows that lie in
            [0, 1] and sum to one are probabilities, others are logits. Those of a sigmoid need False.

    Returns:
        For each image a list of (WordNet id, name, probability), most probable first.

    Raises:
        ValueError: another shape, NaN or infinite values, or `top` is below 1.
    """
    values = np.asarray(predictions).astype(np.float64)
    dataset = find_dataset(values.shape[1]) if values.ndim == 2 else None
    if dataset is None:
        raise ValueError(
            f"predictions have the shape {values.shape}; they must be those of ImageNet, (B, 1000) or (B, 21843); "
            "names of other classes are `keras_nest.open_model(…).class_names`."
        )
    if top < 1:
        raise ValueError(f"top is {top}; it must be 1 or more.")
    if not (values < np.inf).all():
        raise ValueError("predictions hold NaN or infinity; they must be numbers.")
    if from_logits is None:
        from_logits = _are_logits(values)
    scores, classes = _softmax(values) if from_logits else values, read_classes(dataset)
    best = np.argsort(-scores, axis=-1, kind="stable")[:, :top]
    return [[(*classes[k], float(row[k])) for k in indices] for row, indices in zip(scores, best, strict=True)]


def _are_logits(values: np.ndarray) -> bool:
    """Whether rows are no probabilities of one class each; says so where they may be those of a sigmoid."""
    inside = bool(((values >= 0) & (values <= 1)).all())
    if inside and bool((np.abs(values.sum(axis=-1) - 1) < _TOLERANCE).all()):
        return False
    if inside and np.ptp(values) > 0:
        _LOGGER.warning(
            "Predictions between 0 and 1 that do not sum to one are taken for logits; from_logits=False takes them for "
            "probabilities, as a sigmoid makes them."
        )
    return True


def _softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)
