"""In which range the values of images lie, and which they must not."""

from collections.abc import Sequence
from typing import Any, TypeAlias

import tensorflow as tf

ValueRange: TypeAlias = tuple[int, int]

UNIT: ValueRange = (0, 1)
LEVELS: ValueRange = (0, 255)

# Resizing with bicubic or Lanczos kernels oversteps by less than half of the range.
_LOWEST, _HIGHEST = -0.5, 1.5
# Normalized values stay below it; an image of levels with negative ones, which resizing made, does not.
_NORMALIZED = 16.0
_LEVELS_PER_UNIT = {UNIT: 1.0, LEVELS: 255.0}


def check_value_range(value_range: Any) -> ValueRange | None:
    """A range of floats, or None.

    Raises:
        ValueError: it is neither (0, 1) nor (0, 255).
    """
    if value_range is None:
        return None
    found = tuple(value_range) if isinstance(value_range, (list, tuple)) else value_range
    if found not in _LEVELS_PER_UNIT:
        raise ValueError(f"value_range is {value_range!r}; it must be (0, 1), (0, 255), or None to go by the values.")
    return UNIT if found == UNIT else LEVELS


def infer_scales(images: Sequence[tf.Tensor], value_range: ValueRange | None = None) -> list[tf.Tensor]:
    """What images are divided by to lie in [0, 1]: 255 or 1.

    The dtype decides, and of floats the argument. Without one, values above 1.5 show that they are levels of 0..255; an
    image too dark to hold one is taken to lie in [0, 1], but for one of zeros and ones beside others in a list.

    Args:
        images: uint8 or floats, an image or a batch each.
        value_range: of floats.

    Returns:
        float32 scalars.

    Raises:
        ValueError: values that are not finite or in neither range, or floats of both ranges. Inside a graph the first
            two are an InvalidArgumentError when it runs, and the last is not looked for.
    """
    scales = [_infer_scale(image, value_range) for image in images]
    if value_range is not None or len(images) == 1 or not tf.executing_eagerly():
        return scales
    numbers = [number for number, image in enumerate(images) if image.dtype != tf.uint8]
    plain = {float(scales[number]): number for number in numbers if not _is_binary(images[number])}
    if len(plain) > 1:
        raise ValueError(
            f"Image {plain[1.0]} of the list has floats in [0, 1] and image {plain[255.0]} in 0..255; one range is "
            "needed for all."
        )
    return [tf.constant(next(iter(plain), float(scale))) if n in numbers else scale for n, scale in enumerate(scales)]


def _is_binary(image: tf.Tensor) -> bool:
    """Whether there are zeros and ones alone, which are in both ranges."""
    return bool(tf.reduce_all((image == 0) | (image == 1)))


def _infer_scale(images: tf.Tensor, value_range: ValueRange | None) -> tf.Tensor:
    if images.dtype == tf.uint8:
        return tf.constant(255.0)
    lowest, highest, is_finite = _extent(images)
    if value_range is None:
        are_levels = highest > _HIGHEST
        may_be_levels = (lowest >= 0) | ((highest >= _NORMALIZED) & (lowest >= _LOWEST * 255))
        fits = tf.where(are_levels, may_be_levels & (highest <= _HIGHEST * 255), lowest >= _LOWEST)
        scale = tf.where(are_levels, 255.0, 1.0)
        wanted = "floats must lie in [0, 1] or 0..255, and not be normalized yet."
    else:
        scale = tf.constant(_LEVELS_PER_UNIT[value_range])
        fits = (lowest >= _LOWEST * scale) & (highest <= _HIGHEST * scale)
        wanted = f"floats must lie in the value_range {value_range}, and not be normalized yet."
    return require(is_finite & fits, ("Images have values from", lowest, "to", highest, f"; {wanted}"), scale)


def check_unit(images: tf.Tensor) -> tf.Tensor:
    """The images, if there are some and they lie in [0, 1]; what resizing oversteps is let through.

    Args:
        images: floats (B, H, W, C).

    Returns:
        The same. A graph looks at the values whenever it runs, and stops with an InvalidArgumentError; what XLA
        compiled does not look.
    """
    images = require(tf.size(images) > 0, ("The batch is empty; it must hold an image at least.",), images)
    lowest, highest, is_finite = _extent(images)
    wanted = "; they must lie in [0, 1] (levels of 0..255 are divided by 255) and not be normalized yet."
    fits = _fits_unit(lowest, highest, is_finite)
    return require(fits, ("Images have values from", lowest, "to", highest, wanted), images)


def are_unit(images: tf.Tensor) -> tf.Tensor:
    """Which images of a batch `check_unit` lets through, each for itself.

    Args:
        images: floats (B, H, W, C).

    Returns:
        Booleans (B,).
    """
    return _fits_unit(*_extent(images, axis=[1, 2, 3]))


def _fits_unit(lowest: tf.Tensor, highest: tf.Tensor, is_finite: tf.Tensor) -> tf.Tensor:
    return is_finite & (lowest >= _LOWEST) & (highest <= _HIGHEST)


def _extent(images: tf.Tensor, axis: Sequence[int] | None = None) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """float32: the lowest and the highest value; and whether all are finite, as their sum then is. None is all axes."""
    images = tf.cast(images, tf.float32)
    is_finite = tf.math.is_finite(tf.reduce_sum(images, axis))
    return tf.reduce_min(images, axis), tf.reduce_max(images, axis), is_finite


def require(condition: tf.Tensor, message: Sequence[Any], value: tf.Tensor) -> tf.Tensor:
    """The value, if a condition holds.

    Args:
        condition: boolean scalar.
        message: a sentence in parts, strings and scalars.
        value: is given back.

    Raises:
        ValueError: it does not. Inside a graph it is an InvalidArgumentError when it runs.
    """
    if not tf.executing_eagerly():
        with tf.control_dependencies([tf.debugging.Assert(condition, list(message), summarize=4)]):
            return tf.identity(value)
    if not condition:
        parts = (part if isinstance(part, str) else f"{part.numpy():g}" for part in message)
        raise ValueError(" ".join(parts).replace(" ;", ";"))
    return value
