"""Operations of RandAugment on one uint8 image, each exact to the last level; none draws anything.

Every operation takes a uint8 image (H, W, 3) and returns one of the same shape and dtype. Height and width may be
unknown while a graph is traced, arguments may be Python numbers or scalar tensors, and float arithmetic is float32
whose fraction is cut off. Uncovered pixels become `GRAY`.

They follow Pillow's operations, which round where these cut off. x points right and y down.

Source: Zizhao Zhang et al., "Nested Hierarchical Transformer", AAAI 2022, arXiv:2105.12723, `augment/augment_ops.py` of
its code.
"""

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

GRAY = 128
_LEVELS = 256
_LIGHT = 128  # from here on, `solarize_add` leaves a level alone
_SMOOTH = ((1.0, 1.0, 1.0), (1.0, 5.0, 1.0), (1.0, 1.0, 1.0))


def check_image(image: Any) -> tf.Tensor:
    """An image as a tensor, if it is one that the operations of this module take.

    Args:
        image: array or tensor.

    Returns:
        uint8 (H, W, 3).

    Raises:
        ValueError: other dtype or shape.
    """
    image = tf.convert_to_tensor(image)
    if image.dtype != tf.uint8:
        raise ValueError(f"The image is {image.dtype.name}; it must be uint8, with levels from 0 to 255.")
    if not image.shape.is_compatible_with([None, None, 3]):
        raise ValueError(f"The image has the shape {image.shape}; it must be one image (height, width, 3).")
    return image


def _operation(function: Callable[..., tf.Tensor]) -> Callable[..., tf.Tensor]:
    """Checks the image, and keeps what is known of its shape."""

    @functools.wraps(function)
    def checked(image: tf.Tensor, *arguments: Any, **named: Any) -> tf.Tensor:
        image = check_image(image)
        return tf.ensure_shape(function(image, *arguments, **named), image.shape)

    return checked


@_operation
def identity(image: tf.Tensor) -> tf.Tensor:
    """The image itself."""
    return image


@_operation
def invert(image: tf.Tensor) -> tf.Tensor:
    """The negative: level x becomes 255 - x."""
    return tf.bitwise.invert(image)


@_operation
def autocontrast(image: tf.Tensor) -> tf.Tensor:
    """Stretches each channel to the levels from 0 to 255; a constant channel stays."""
    pixels = tf.cast(image, tf.float32)
    low, high = tf.reduce_min(pixels, [0, 1]), tf.reduce_max(pixels, [0, 1])
    scale = tf.where(high > low, 255 / (high - low), 1.0)
    offset = tf.where(high > low, -low * scale, 0.0)
    return _cut(pixels * as_row(scale, image) + as_row(offset, image))


@_operation
def equalize(image: tf.Tensor) -> tf.Tensor:
    """Spreads each channel so that its levels are about equally frequent, by Pillow's formula.

    A channel with too few pixels outside its brightest level stays.
    """
    bins = tf.cast(image, tf.int32) + as_row(_LEVELS * tf.range(3), image)
    counts = tf.reshape(tf.math.bincount(bins, minlength=3 * _LEVELS, maxlength=3 * _LEVELS), [3, _LEVELS])
    darker = tf.cumsum(counts, axis=1, exclusive=True)
    below_brightest = tf.reduce_max(tf.where(darker < tf.reduce_sum(counts, 1, True), darker, 0), 1, keepdims=True)
    step = below_brightest // (_LEVELS - 1)
    spread = tf.minimum((darker + step // 2) // tf.maximum(step, 1), _LEVELS - 1)
    table = tf.cast(tf.where(step > 0, spread, tf.range(_LEVELS)), tf.uint8)
    return tf.gather(tf.reshape(table, [-1]), bins)


@_operation
def posterize(image: tf.Tensor, bits: tf.Tensor) -> tf.Tensor:
    """Keeps the highest bits of every level.

    Args:
        image: uint8 (H, W, 3).
        bits: how many, from 0 to 8; 0 acts as 1.
    """
    cleared = tf.cast(tf.minimum(8 - bits, 7), tf.uint8)
    return tf.bitwise.bitwise_and(image, tf.bitwise.left_shift(tf.constant(255, tf.uint8), cleared))


@_operation
def solarize(image: tf.Tensor, threshold: tf.Tensor) -> tf.Tensor:
    """Inverts the light pixels.

    Args:
        image: uint8 (H, W, 3).
        threshold: first level to invert; above 255 it acts as 255.
    """
    light = image >= tf.saturate_cast(threshold, tf.uint8)
    return tf.bitwise.bitwise_xor(image, tf.cast(light, tf.uint8) * 255)


@_operation
def solarize_add(image: tf.Tensor, addition: tf.Tensor) -> tf.Tensor:
    """Adds to every level below 128, at most up to 255.

    Args:
        image: uint8 (H, W, 3).
        addition: levels to add, an integer from -255 to 255.
    """
    dark = tf.cast(image < _LIGHT, tf.uint8)
    up, down = dark * tf.saturate_cast(addition, tf.uint8), dark * tf.saturate_cast(-addition, tf.uint8)
    return image + tf.minimum(up, tf.bitwise.invert(image)) - tf.minimum(down, image)


@_operation
def color(image: tf.Tensor, factor: tf.Tensor) -> tf.Tensor:
    """Changes the saturation.

    Args:
        image: uint8 (H, W, 3).
        factor: 0 gives the gray image, 1 the image itself, above 1 stronger colors.
    """
    return _blend(tf.image.grayscale_to_rgb(tf.image.rgb_to_grayscale(image)), image, factor)


@_operation
def contrast(image: tf.Tensor, factor: tf.Tensor) -> tf.Tensor:
    """Changes the distance to the mean brightness, one number for all channels.

    Args:
        image: uint8 (H, W, 3).
        factor: 0 gives the mean brightness everywhere, 1 the image itself, above 1 stronger contrast.
    """
    mean = tf.reduce_mean(tf.cast(tf.image.rgb_to_grayscale(image), tf.float64))
    return _blend(tf.floor(mean + 0.5), image, factor)


@_operation
def brightness(image: tf.Tensor, factor: tf.Tensor) -> tf.Tensor:
    """Multiplies every level.

    Args:
        image: uint8 (H, W, 3).
        factor: 0 gives black, 1 the image itself, above 1 a lighter image.
    """
    return _cut(tf.cast(image, tf.float32) * tf.cast(factor, tf.float32))


@_operation
def sharpness(image: tf.Tensor, factor: tf.Tensor) -> tf.Tensor:
    """Changes the distance to a smoothed image; the outermost pixels stay.

    Args:
        image: uint8 (H, W, 3).
        factor: 0 gives the smoothed image, 1 the image itself, above 1 sharper edges.
    """
    kernel = tf.tile(tf.reshape(tf.constant(_SMOOTH) / 13.0, [3, 3, 1, 1]), [1, 1, 3, 1])
    pixels = tf.cast(image, tf.float32)
    smooth = tf.floor(tf.nn.depthwise_conv2d(pixels[None], kernel, [1, 1, 1, 1], "SAME")[0])
    height, width = tf.unstack(tf.shape(image)[:2])
    inside = tf.cast(_box(image, 1, 1, height - 1, width - 1), tf.float32)
    return _blend(pixels + inside * (smooth - pixels), image, factor)


@_operation
def rotate(image: tf.Tensor, degrees: tf.Tensor) -> tf.Tensor:
    """Rotates about the center, counter-clockwise.

    Args:
        image: uint8 (H, W, 3).
        degrees: the angle.
    """
    angle = tf.cast(degrees, tf.float32) * (math.pi / 180)
    cos, sin = tf.cos(angle), tf.sin(angle)
    bottom, right = tf.unstack(tf.cast(tf.shape(image)[:2] - 1, tf.float32))
    shift_x = (right - (cos * right - sin * bottom)) / 2
    shift_y = (bottom - (sin * right + cos * bottom)) / 2
    return _warp(image, tf.stack([cos, -sin, shift_x, sin, cos, shift_y, 0.0, 0.0]))


@_operation
def shear_x(image: tf.Tensor, shear: tf.Tensor) -> tf.Tensor:
    """Shifts row y to the left by `shear` times y pixels.

    Args:
        image: uint8 (H, W, 3).
        shear: pixels a row.
    """
    return _slide(image, 1, shear)


@_operation
def shear_y(image: tf.Tensor, shear: tf.Tensor) -> tf.Tensor:
    """Shifts column x up by `shear` times x pixels.

    Args:
        image: uint8 (H, W, 3).
        shear: pixels a column.
    """
    return _slide(image, 3, shear)


@_operation
def translate_x(image: tf.Tensor, pixels: tf.Tensor) -> tf.Tensor:
    """Moves the image to the left.

    Args:
        image: uint8 (H, W, 3).
        pixels: how far; half pixels round away from 0.
    """
    return _move(image, 1, pixels)


@_operation
def translate_y(image: tf.Tensor, pixels: tf.Tensor) -> tf.Tensor:
    """Moves the image up.

    Args:
        image: uint8 (H, W, 3).
        pixels: how far; half pixels round away from 0.
    """
    return _move(image, 0, pixels)


def _cut(pixels: tf.Tensor) -> tf.Tensor:
    """float32 -> uint8: limited to 0..255, the fraction cut off."""
    return tf.saturate_cast(pixels, tf.uint8)


def _blend(start: tf.Tensor, image: tf.Tensor, factor: tf.Tensor) -> tf.Tensor:
    """`start` at factor 0, `image` at 1, and beyond."""
    start, pixels = tf.cast(start, tf.float32), tf.cast(image, tf.float32)
    return _cut(start + tf.cast(factor, tf.float32) * (pixels - start))


def as_row(channels: tf.Tensor, images: tf.Tensor) -> tf.Tensor:
    """One number a channel, (C,), for a whole row of images (…, W, C): (W, C), which is added several times as fast."""
    return tf.broadcast_to(channels, tf.shape(images)[-2:])


def _box(image: tf.Tensor, top: tf.Tensor, left: tf.Tensor, bottom: tf.Tensor, right: tf.Tensor) -> tf.Tensor:
    """Boolean (H, W, 3): whether a pixel lies in a box; `bottom` and `right` do not."""
    rows, columns = tf.range(tf.shape(image)[0])[:, None, None], tf.range(tf.shape(image)[1])[:, None]
    in_columns = tf.broadcast_to((columns >= left) & (columns < right), tf.shape(image)[1:])
    return ((rows >= top) & (rows < bottom)) & in_columns


def _move(image: tf.Tensor, axis: int, pixels: tf.Tensor) -> tf.Tensor:
    """What `_warp` makes of a translation, in a tenth of the time: output place x is input place x + pixels."""
    shape, pixels = tf.unstack(tf.shape(image)), tf.cast(pixels, tf.float32)
    side = shape[axis]
    whole = tf.clip_by_value(tf.floor(pixels + 0.5), -tf.cast(side, tf.float32), tf.cast(side, tf.float32))
    # Halves round away from 0, so that -0.5 is outside.
    whole, is_half = tf.cast(whole, tf.int32), tf.cast(whole == pixels + 0.5, tf.int32)
    first = tf.clip_by_value(is_half - whole, 0, side)
    last = tf.clip_by_value(side - whole, first, side)
    begin, uncovered = [0, 0, 0], [[0, 0]] * 3
    begin[axis], shape[axis], uncovered[axis] = first + whole, last - first, [first, side - last]
    return tf.pad(tf.slice(image, begin, shape), uncovered, constant_values=GRAY)


def _slide(image: tf.Tensor, place: int, amount: tf.Tensor) -> tf.Tensor:
    """`_warp` by the transform that changes nothing, but for one number."""
    unchanged, change = np.array([1, 0, 0, 0, 1, 0, 0, 0], np.float32), np.zeros(8, np.float32)
    change[place] = 1
    return _warp(image, unchanged + tf.cast(amount, tf.float32) * change)


def _warp(image: tf.Tensor, transform: tf.Tensor) -> tf.Tensor:
    """Output pixel (x, y) is input pixel (a x + b y + c, d x + e y + f), the nearest one.

    `transform` is float32 (8,): a to f, and two zeros.
    """
    # TensorFlow has no other name for it, and that of Keras belongs to whichever backend is chosen.
    warped = tf.raw_ops.ImageProjectiveTransformV3(
        images=tf.expand_dims(image, 0),
        transforms=tf.expand_dims(transform, 0),
        output_shape=tf.shape(image)[:2],
        fill_value=float(GRAY),
        interpolation="NEAREST",
        fill_mode="CONSTANT",
    )
    return tf.squeeze(warped, 0)
