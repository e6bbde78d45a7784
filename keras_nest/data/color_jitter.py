"""Color jitter of SimCLR v2: brightness, contrast, saturation and hue in a random order, and sometimes gray.

Source: Ting Chen et al., "Big Self-Supervised Models are Strong Semi-Supervised Learners", 2020, arXiv:2006.10029,
appendix, as in `augment/color_util.py` of the code of NesT.
"""

from collections.abc import Sequence
from typing import NamedTuple

import tensorflow as tf

from keras_nest.data.crops import random_flip
from keras_nest.data.operations import check_image
from keras_nest.graphs import as_written

_MAX_STRENGTH = 1.25
_JITTERED, _GRAY = 0.8, 0.2  # probabilities


class JitterFactors(NamedTuple):
    """How much each step changes, float scalars; the values given here change nothing.

    Attributes:
        brightness: factor of every value, 0 or more.
        contrast: factor of the distance from the mean of the channel, 0 or more.
        saturation: factor of the saturation, 0 or more.
        hue: turn of the hue, a share of the circle in [-1, 1].
    """

    brightness: float | tf.Tensor = 1.0
    contrast: float | tf.Tensor = 1.0
    saturation: float | tf.Tensor = 1.0
    hue: float | tf.Tensor = 0.0


STEPS = JitterFactors._fields
"""Names of the steps; an order is made of indices into them."""


def color_jitter(
    image: tf.Tensor,
    factors: JitterFactors,
    order: tf.Tensor | Sequence[int],
    jittered: bool | tf.Tensor = True,
    gray: bool | tf.Tensor = False,
) -> tf.Tensor:
    """Changes colors as given; values stay in [0, 1] after each step and are cut off at the end.

    Args:
        image: uint8 (H, W, 3).
        factors: of the steps.
        order: integer (4,), indices into `STEPS`, the first one first.
        jittered: whether the steps are taken.
        gray: whether the result loses its colors.

    Returns:
        uint8 (H, W, 3).

    Raises:
        ValueError: the image is of another type or shape.
    """
    image = check_image(image)
    pixels = tf.image.convert_image_dtype(image, tf.float32)
    pixels = tf.cond(tf.convert_to_tensor(jittered), lambda: _take_steps(pixels, factors, order), lambda: pixels)
    pixels = tf.cond(tf.convert_to_tensor(gray), lambda: _without_colors(pixels), lambda: pixels)
    return tf.ensure_shape(tf.cast(pixels * 255.0, tf.uint8), image.shape)


@as_written
def random_color_jitter(image: tf.Tensor, key: tf.Tensor, strength: float = 0.3, flip: bool = False) -> tf.Tensor:
    """Changes the colors of most images, and makes a fifth of them gray.

    The four steps are taken together, in 80 % of the images. Brightness, contrast and saturation draw their factors
    from 1 ± 0.8 strength, the hue turns by up to 0.2 strength either way, all uniformly.

    The original draws from a global state, so that it does not repeat. Here the key is split in two: the flip, and ten
    uniform numbers, for whether the steps are taken, whether the image becomes gray, the order (by sorting four of
    them), and the four factors.

    Args:
        image: uint8 (H, W, 3).
        key: integer (2,).
        strength: from 0, no change, to 1.25, where the smallest factor is 0.
        flip: also mirrors half of the images, as the original does unseen. It mirrors them twice then, which is as
            likely as once, so that training sees the same without it.

    Returns:
        uint8 (H, W, 3).

    Raises:
        ValueError: the strength is out of its range, or the image is of another type or shape.
    """
    if not 0 <= strength <= _MAX_STRENGTH:
        raise ValueError(f"strength is {strength}; it must be between 0 and {_MAX_STRENGTH}.")
    image = check_image(image)
    flip_key, numbers_key = tf.unstack(tf.random.split(key, 2))
    numbers = tf.random.stateless_uniform([2 + 2 * len(STEPS)], numbers_key)
    chances, order, factors = tf.split(numbers, [2, len(STEPS), len(STEPS)])
    return color_jitter(
        random_flip(image, flip_key) if flip else image,
        _factors(factors, strength),
        tf.argsort(order),
        jittered=chances[0] < _JITTERED,
        gray=chances[1] < _GRAY,
    )


def _factors(numbers: tf.Tensor, strength: float) -> JitterFactors:
    """Factors of a strength, from numbers (4,) in [0, 1)."""
    widths = strength * tf.constant([0.8, 0.8, 0.8, 0.2])
    return JitterFactors(*tf.unstack(tf.constant([*JitterFactors()]) + widths * (2 * numbers - 1)))


def _take_steps(pixels: tf.Tensor, factors: JitterFactors, order: tf.Tensor | Sequence[int]) -> tf.Tensor:
    for step in tf.unstack(tf.convert_to_tensor(order), len(STEPS)):
        pixels = _take_step(pixels, factors, step)
    return pixels


def _take_step(pixels: tf.Tensor, factors: JitterFactors, step: tf.Tensor) -> tf.Tensor:
    # The last two cannot leave [0, 1].
    steps = [
        lambda: tf.minimum(pixels * factors.brightness, 1.0),
        lambda: tf.clip_by_value(tf.image.adjust_contrast(pixels, factors.contrast), 0.0, 1.0),
        lambda: tf.image.adjust_saturation(pixels, factors.saturation),
        lambda: tf.image.adjust_hue(pixels, factors.hue),
    ]
    return tf.switch_case(tf.cast(step, tf.int32), steps)


def _without_colors(pixels: tf.Tensor) -> tf.Tensor:
    return tf.image.grayscale_to_rgb(tf.image.rgb_to_grayscale(pixels))
