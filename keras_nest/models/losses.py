"""What classifiers minimize; labels are classes or, where images are mixed or have several, probabilities."""

from collections.abc import Callable, Sequence
from typing import Any

import keras
from keras import KerasTensor as Tensor
from keras import ops

from keras_nest.targets import MULTI_LABEL, REGRESSION, SINGLE_LABEL


def cross_entropy(labels: Tensor, outputs: Tensor, from_logits: bool = True) -> Tensor:
    """Cross-entropy of each image.

    Args:
        labels: integer (B,), classes; or float (B, K), probabilities.
        outputs: float (B, K), logits; computed with in float32.
        from_logits: False if `outputs` are probabilities instead.

    Returns:
        float32 (B,).
    """
    outputs = ops.cast(outputs, "float32")
    if len(labels.shape) == len(outputs.shape):
        return keras.losses.categorical_crossentropy(labels, outputs, from_logits=from_logits)
    return keras.losses.sparse_categorical_crossentropy(labels, outputs, from_logits=from_logits)


def focal_cross_entropy(labels: Tensor, outputs: Tensor, from_logits: bool = True) -> Tensor:
    """Focal loss of each image, which counts the less, the surer the right class is: 0.25 (1 - p)^2 times -log p.

    Source: Tsung-Yi Lin et al., "Focal Loss for Dense Object Detection", 2017, arXiv:1708.02002, with its factors, as
    `keras.losses.CategoricalFocalCrossentropy` has them; shapes as for `cross_entropy`.
    """
    outputs = ops.cast(outputs, "float32")
    if len(labels.shape) < len(outputs.shape):
        labels = ops.one_hot(labels, outputs.shape[-1])
    return keras.losses.categorical_focal_crossentropy(
        ops.cast(labels, "float32"), outputs, alpha=0.25, gamma=2.0, from_logits=from_logits
    )


def sigmoid_cross_entropy(labels: Tensor, outputs: Tensor, from_logits: bool = True) -> Tensor:
    """Sum over the classes of the cross-entropy of each, for images that may have several.

    Args:
        labels: integer (B,), classes; or float (B, K), 1 for each class that an image has.
        outputs: float (B, K), logits; computed with in float32.
        from_logits: False if `outputs` are probabilities instead.

    Returns:
        float32 (B,).
    """
    outputs = ops.cast(outputs, "float32")
    if len(labels.shape) < len(outputs.shape):
        labels = ops.one_hot(labels, outputs.shape[-1])
    return ops.sum(ops.binary_crossentropy(ops.cast(labels, "float32"), outputs, from_logits=from_logits), axis=-1)


def squared_error(labels: Tensor, outputs: Tensor, from_logits: bool = True) -> Tensor:
    """Squared error of the numbers of each image.

    Args:
        labels: float (B, K).
        outputs: float (B, K); computed with in float32.
        from_logits: the numbers are what a head gives, so that this must be left as it is.

    Returns:
        float32 (B,), means over the numbers.
    """
    return ops.mean(ops.square(ops.cast(outputs, "float32") - ops.cast(labels, "float32")), axis=-1)


def weigh_classes(loss: Callable[..., Tensor], weights: Sequence[float]) -> Callable[..., Tensor]:
    """A loss in which classes count differently.

    Args:
        loss: (labels, outputs) -> loss of each image, (B,).
        weights: K factors; an image whose label is probabilities has their mean.

    Returns:
        The same times the factor of each image.
    """
    factors = ops.convert_to_tensor(list(weights), "float32")

    def weighted(labels: Tensor, outputs: Tensor) -> Tensor:
        if len(labels.shape) == len(outputs.shape):
            return ops.matmul(ops.cast(labels, "float32"), factors) * loss(labels, outputs)
        return ops.take(factors, ops.cast(labels, "int32")) * loss(labels, outputs)

    return weighted


@keras.saving.register_keras_serializable(package="keras_nest")
class ClassificationLoss(keras.losses.Loss):
    """What a classifier is compiled with where no loss is given: cross-entropy, of labels in any form.

    Labels are classes (B,) or (B, 1), or probabilities or 0 and 1 (B, K). With "sigmoid" the loss is the mean over the
    classes, as that of `keras.losses.BinaryCrossentropy`; a single output (K = 1) takes 0 and 1 as labels.

    Args:
        activation: what makes probabilities of the logits, "softmax" or "sigmoid".
        from_logits: whether the model's output is the logits, or has gone through the activation.
        name: of the loss.
        **options: `reduction` and `dtype`, as for every Keras loss.
    """

    def __init__(
        self, activation: str = "softmax", from_logits: bool = True, name: str = "classification_loss", **options: Any
    ) -> None:
        super().__init__(name=name, **options)
        self.activation, self.from_logits = activation, from_logits

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        classes = y_pred.shape[-1]
        if len(y_true.shape) == len(y_pred.shape) and y_true.shape[-1] == 1 < classes:
            y_true = ops.squeeze(y_true, -1)
        if self.activation == "softmax":
            return cross_entropy(y_true, y_pred, self.from_logits)
        if classes == 1:
            y_true = ops.reshape(y_true, ops.shape(y_pred))
        return sigmoid_cross_entropy(y_true, y_pred, self.from_logits) / classes

    def get_config(self) -> dict[str, Any]:
        """Arguments of the constructor."""
        return {**super().get_config(), "activation": self.activation, "from_logits": self.from_logits}


LOSSES: dict[str, Callable[..., Tensor]] = {"softmax": cross_entropy, "sigmoid": sigmoid_cross_entropy}
LOSSES |= {"focal": focal_cross_entropy, "squared": squared_error}
"""Losses by the name that a configuration has for them."""

ACTIVATIONS = {"softmax": "softmax", "sigmoid": "sigmoid", "focal": "softmax"}
"""What makes probabilities of the logits that each of them takes; of numbers nothing does."""

LOSSES_OF_TASK = {SINGLE_LABEL: ("softmax", "sigmoid", "focal"), MULTI_LABEL: ("sigmoid",), REGRESSION: ("squared",)}
"""Those that fit what is told of an image, the usual one first."""

ANSWERS = {"softmax": SINGLE_LABEL, "focal": SINGLE_LABEL, "sigmoid": MULTI_LABEL, "squared": REGRESSION}
"""What a model answers that was trained with each: one of the classes, each for itself, or a number."""
