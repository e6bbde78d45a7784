"""What training minimises and measures; labels are classes or, where images are mixed, probabilities."""

import keras
from keras import KerasTensor as Tensor
from keras import ops


def cross_entropy(labels: Tensor, logits: Tensor) -> Tensor:
    """Cross-entropy of each image.

    Args:
        labels: integer (B,), classes; or float (B, K), probabilities.
        logits: float (B, K).

    Returns:
        float (B,).
    """
    if len(labels.shape) == len(logits.shape):
        return keras.losses.categorical_crossentropy(labels, logits, from_logits=True)
    return keras.losses.sparse_categorical_crossentropy(labels, logits, from_logits=True)


def accuracy(labels: Tensor, logits: Tensor) -> Tensor:
    """Whether each image's most likely class is right; of a mixed image, the class with the larger share.

    Args:
        labels: integer (B,) or float (B, K), as above.
        logits: float (B, K).

    Returns:
        float32 (B,), 1 or 0.
    """
    classes = ops.argmax(labels, axis=-1) if len(labels.shape) == len(logits.shape) else labels
    predicted = ops.argmax(logits, axis=-1)
    return ops.cast(ops.equal(ops.cast(classes, predicted.dtype), predicted), "float32")
