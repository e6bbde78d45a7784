"""Flax msgpack files, without Flax.

A map of maps whose leaves are extension type 1: a msgpack triple (shape, dtype name, C-order bytes).
Source: `flax/serialization.py`.
"""

from collections.abc import Mapping
from typing import Any, BinaryIO

import ml_dtypes  # noqa: F401  (teaches NumPy the name "bfloat16")
import msgpack
import numpy as np

from keras_nest.conversion.image_size import COLLECTION, FIELD, told_size
from keras_nest.conversion.names import Tree
from keras_nest.conversion.tree import flatten, select_variables, unflatten
from keras_nest.types import Size

_ARRAY, _COMPLEX, _SCALAR = 1, 2, 3
# Optimizer moments are two thirds of a published file; they are skipped, not decoded.
_SKIPPED = {("optimizer", "state"), ("opt", "state"), ("opt_state",)}
_OPENED = {("optimizer",), ("opt",)}


def read_msgpack(file: BinaryIO) -> Tree:
    """Parameters and batch statistics of a Flax msgpack file.

    Args:
        file: binary file, read once from front to back.

    Raises:
        ValueError: truncated, or not such a file.
    """
    unpacker = _unpacker(file, read_size=1 << 24)
    try:
        nested = _read_map(unpacker, ())
    except msgpack.OutOfData:
        raise ValueError("it is truncated") from None
    except (ValueError, TypeError, msgpack.UnpackException) as error:
        raise ValueError(f"it is no Flax msgpack file ({error})") from None
    return select_variables(dict(flatten(nested)))


def write_msgpack(tree: Tree, file: BinaryIO, image_size: Size | None = None) -> None:
    """Writes {"params": …, "batch_stats": …}, which `flax.serialization.msgpack_restore` reads.

    Args:
        tree: "params/PATH" and "batch_stats/PATH" -> array.
        file: binary file open for writing.
        image_size: height and width of the model's images; told in a collection "keras_nest" of its own, which Flax's
            `from_bytes` and `apply` leave alone.
    """
    # In front, where it is found without reading the file.
    told = {} if image_size is None else {COLLECTION: {FIELD: np.array(image_size, np.int32)}}
    file.write(msgpack.packb(told | unflatten(tree), default=_encode, strict_types=True))


def msgpack_image_size(file: BinaryIO) -> Size | None:
    """Height and width of the model's images, if the file begins with them.

    Args:
        file: binary file, of which the beginning is read.
    """
    unpacker = _unpacker(file, read_size=1 << 12)
    try:
        named = unpacker.read_map_header() and unpacker.unpack() == COLLECTION
        return told_size(unpacker.unpack()) if named else None
    except (ValueError, TypeError, msgpack.UnpackException):
        return None


def _unpacker(file: BinaryIO, read_size: int) -> msgpack.Unpacker:
    return msgpack.Unpacker(file, ext_hook=_decode, read_size=read_size, max_buffer_size=0, strict_map_key=False)


def _read_map(unpacker: msgpack.Unpacker, path: tuple[str, ...]) -> Mapping[str, Any]:
    node = {}
    for _ in range(unpacker.read_map_header()):
        key = unpacker.unpack()
        inner = (*path, key)
        if inner in _SKIPPED:
            unpacker.skip()
        elif inner in _OPENED:
            node[key] = _read_map(unpacker, inner)
        else:
            node[key] = unpacker.unpack()
    return node


def _decode(code: int, data: bytes) -> Any:
    if code == _COMPLEX:
        return complex(*msgpack.unpackb(data))
    if code not in (_ARRAY, _SCALAR):
        raise ValueError(f"unknown extension type {code}")
    shape, dtype, buffer = msgpack.unpackb(data, max_bin_len=len(data))
    array = np.frombuffer(buffer, np.dtype(dtype)).reshape(shape)
    return array if code == _ARRAY else array[()]


def _encode(value: Any) -> msgpack.ExtType:
    array = np.asarray(value)
    triple = (array.shape, array.dtype.name, array.tobytes())
    return msgpack.ExtType(_ARRAY, msgpack.packb(triple, use_bin_type=True))
