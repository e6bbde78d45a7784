"""Sizes, shapes and other types that all packages name alike."""

from collections.abc import Callable, Iterable, Sequence
from numbers import Integral
from typing import Any, TypeAlias

import numpy as np

Size: TypeAlias = tuple[int, int]
"""Height and width."""
Shape: TypeAlias = tuple[Any, ...]
"""Shape of a tensor, with None where it is not known."""
Progress: TypeAlias = Callable[[int, int], None]
"""Called with the bytes that are there so far, and the bytes in all."""


def pair(values: Sequence[int]) -> Size:
    """Two numbers as a tuple; a configuration read from JSON holds a list."""
    first, second = values
    return int(first), int(second)


def as_size(size: int | Size, field: str = "image_size") -> Size:
    """(height, width) of a size given as one number or two.

    Args:
        size: one number or (height, width).
        field: what it is, for the message.

    Raises:
        ValueError: not one or two positive whole numbers, of Python or NumPy.
    """
    plain = np.asarray(size).tolist() if isinstance(size, np.ndarray | np.generic) else size
    sides = tuple(plain) if isinstance(plain, Iterable) else (plain, plain)
    if len(sides) != 2 or not all(map(_is_side, sides)):
        raise ValueError(f"{field} is {size!r}; it must be a positive whole number or (height, width).")
    return int(sides[0]), int(sides[1])


def _is_side(value: Any) -> bool:
    # A bool is an integer for Python.
    return isinstance(value, Integral) and not isinstance(value, bool) and int(value) > 0
