"""Which tensors a file may hold: numbers, under names that are paths."""

import math
from collections.abc import Iterable
from typing import Any

import ml_dtypes
import numpy as np

_NUMBERS = (
    *(np.float16, np.float32, np.float64, ml_dtypes.bfloat16),
    *(np.int8, np.int16, np.int32, np.int64, np.uint8, np.uint16, np.uint32, np.uint64),
)
_BY_NAME = {np.dtype(number).name: np.dtype(number) for number in _NUMBERS}
MAX_AXES = 32
"""Of a tensor, as of NumPy's arrays before its second version."""


def numeric_dtype(name: str) -> np.dtype:
    """The dtype of a name such as "float32", without asking NumPy, whose parser takes far more than names.

    Raises:
        ValueError: it is none of floats, bfloat16 and integers.
    """
    if name not in _BY_NAME:
        raise ValueError(f"a tensor is of the type {str(name)[:40]!r}; read are {', '.join(_BY_NAME)}")
    return _BY_NAME[name]


def check_dtype(name: str, dtype: np.dtype) -> None:
    """Refuses text, dates, records, objects and bytes that say not what they are.

    Args:
        name: of the tensor.
        dtype: of any order of bytes.

    Raises:
        ValueError: as `numeric_dtype`.
    """
    if dtype.subdtype is not None or dtype.names or dtype.newbyteorder("=") not in _BY_NAME.values():
        raise ValueError(f"{name!r} is of the type {str(dtype)[:40]!r}; read are {', '.join(_BY_NAME)}")


def check_shape(name: str, shape: Any) -> tuple[int, ...]:
    """The shape that a file tells, as a tuple.

    Raises:
        ValueError: sizes are no whole numbers from 0 on, or there are too many of them.
    """
    sizes = tuple(shape) if isinstance(shape, (list, tuple)) else (None,)
    if len(sizes) > MAX_AXES or not all(type(size) is int and 0 <= size < 2**63 for size in sizes):
        raise ValueError(f"{name!r} has the shape {str(shape)[:80]}, which no tensor has")
    return sizes


def check_length(name: str, shape: tuple[int, ...], dtype: np.dtype, length: int) -> None:
    """Refuses a tensor that does not fill the bytes that are there for it.

    Raises:
        ValueError: says both.
    """
    if math.prod(shape) * dtype.itemsize != length:
        raise ValueError(f"it is damaged: {name!r} of shape {shape} does not fill its {length:,} bytes")


def check_names(names: Iterable[str]) -> None:
    """Refuses names of tensors or of files in archives that are no paths below a root, or stand there twice.

    Raises:
        ValueError: names the first.
    """
    seen: set[str] = set()
    for name in names:
        if not {"", ".", ".."}.isdisjoint(name.split("/")) or not name.isprintable():
            raise ValueError(f"it holds the name {name[:80]!r}, which is no path of a tensor or file")
        if name in seen:
            raise ValueError(f"it holds {name[:80]!r} twice")
        seen.add(name)
