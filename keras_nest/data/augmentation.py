"""Random changes of one training image; what is drawn depends on the key alone."""

from collections.abc import Callable, Mapping
from typing import Any

import tensorflow as tf

Augmentation = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]
"""(image (H, W, C), key (2,) int64) -> image of the same shape and dtype."""


def random_shift(image: tf.Tensor, key: tf.Tensor, max_shift: int) -> tf.Tensor:
    """Moves an image by whole pixels; what is uncovered becomes 0.

    Args:
        image: (H, W, C), any dtype.
        key: integer (2,); the same key moves by the same amount.
        max_shift: largest shift in pixels; each axis draws its own, uniformly in [-max_shift, max_shift].

    Returns:
        The moved image, of the same shape and dtype.
    """
    padded = tf.pad(image, [[max_shift, max_shift], [max_shift, max_shift], [0, 0]])
    corner = tf.random.stateless_uniform([2], key, 0, 2 * max_shift + 1, tf.int32)
    moved = tf.slice(padded, tf.concat([corner, [0]], 0), tf.shape(image))
    return tf.ensure_shape(moved, image.shape)


def create_augmentation(fields: Mapping[str, Any]) -> Augmentation:
    """The augmentation that a configuration describes.

    Args:
        fields: `type` is "none", or "shift" with `max_shift` in pixels.

    Raises:
        ValueError: unknown type, or no such shift.
    """
    kind, max_shift = fields.get("type", "none"), fields.get("max_shift")
    if kind == "none":
        return lambda image, key: image
    if kind != "shift":
        raise ValueError(f"augment.type is {kind!r}; it must be 'none' or 'shift'.")
    if not isinstance(max_shift, int) or max_shift < 0:
        given = "missing" if max_shift is None else repr(max_shift)
        raise ValueError(f"augment.max_shift is {given}; it must be a number of pixels.")
    return lambda image, key: random_shift(image, key, max_shift)
