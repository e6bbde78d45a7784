"""Checks of what data sets and augmentations are given."""

from numbers import Integral
from typing import Any

import tensorflow as tf

Range = tuple[float, float]
"""Smallest and largest value."""


def check_range(name: str, limits: Range, highest: float = float("inf")) -> None:
    """Refuses a range of positive numbers that is empty or too large.

    Args:
        name: of the argument, for the message.
        limits: smallest and largest value.
        highest: what the largest may be.

    Raises:
        ValueError: not 0 < smallest <= largest <= highest.
    """
    low, high = limits
    if not 0 < low <= high <= highest:
        end = "" if highest == float("inf") else f" <= {highest}"
        raise ValueError(f"{name} is ({low}, {high}); it must be (low, high) with 0 < low <= high{end}.")


def check_probability(name: str, value: float) -> None:
    """Refuses what is no probability.

    Args:
        name: of the argument, for the message.
        value: the probability.

    Raises:
        ValueError: outside [0, 1].
    """
    if not 0 <= value <= 1:
        raise ValueError(f"{name} is {value}; it must be between 0 and 1.")


def check_whole_number(name: str, value: Any, lowest: int) -> None:
    """Refuses what is no whole number, or too small.

    Args:
        name: of the argument, for the message.
        value: what was given.
        lowest: the smallest that is allowed.

    Raises:
        ValueError: it is none.
    """
    if not isinstance(value, Integral):
        raise ValueError(f"{name} is {value!r}; it must be a whole number.")
    if int(value) < lowest:
        raise ValueError(f"{name} is {value}; it must be {lowest} or more.")


def check_unit_range(images: tf.Tensor) -> None:
    """Refuses floats that cannot be in [0, 1], such as levels of 0..255 that were cast.

    Interpolation goes a little beyond 1; levels of all but black images go beyond 2.

    Args:
        images: floats of any shape.

    Raises:
        ValueError: their values are known and above 2.
        tf.errors.InvalidArgumentError: the same, found when a graph runs.
    """
    images = tf.convert_to_tensor(images)
    if images.shape.num_elements() == 0:
        return
    message = "they must be uint8 in 0..255 or floats in [0, 1]; divide levels of 0..255 by 255."
    highest = tf.reduce_max(images)
    if tf.executing_eagerly():
        if float(highest) > 2:
            raise ValueError(f"Images have values up to {float(highest):.4g}; {message}")
    else:
        tf.debugging.Assert(~(highest > 2), [f"Images have values above 2; {message}", highest])
