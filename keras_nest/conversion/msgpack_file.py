"""Flax msgpack files, without Flax.

A map of maps whose leaves are extension type 1: a msgpack triple (shape, dtype name, C-order bytes).
Source: `flax/serialization.py`.
"""

from collections.abc import Mapping, Sequence
from typing import Any, BinaryIO

import msgpack
import numpy as np

from keras_nest.conversion.image_size import COLLECTION, FIELD, told_size
from keras_nest.conversion.names import Tree
from keras_nest.conversion.tree import flattened, select_variables, unflatten
from keras_nest.types import Size
from keras_nest.untrusted.limits import length_of
from keras_nest.untrusted.tensors import check_length, check_names, check_shape, numeric_dtype

_ARRAY, _COMPLEX, _SCALAR = 1, 2, 3
# Optimizer moments are two thirds of a published file; they are skipped, not decoded.
_SKIPPED = {("optimizer", "state"), ("opt", "state"), ("opt_state",)}
_OPENED = {("optimizer",), ("opt",)}
# Far more than files have. States of Flax are maps; a list holds no tensors, and is dropped.
_LONGEST_NAME, _MOST_NAMES, _LONGEST_LIST = 1 << 12, 1 << 18, 1 << 10


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
        if unpacker.tell() != length_of(file):
            raise ValueError("it goes on behind its end")
    except msgpack.OutOfData:
        raise ValueError("it is truncated") from None
    except msgpack.StackError:
        raise ValueError("it is no Flax msgpack file (it is nested too deeply)") from None
    except (ValueError, TypeError, msgpack.UnpackException) as error:
        raise ValueError(f"it is no Flax msgpack file ({error})") from None
    return select_variables(flattened(nested))


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
    length = length_of(file)
    return msgpack.Unpacker(
        file,
        ext_hook=_decode,
        object_pairs_hook=_Names(),
        list_hook=lambda _: None,
        read_size=read_size,
        # What a length claims is taken from the memory before it is read.
        max_buffer_size=0,
        max_bin_len=length,
        max_ext_len=length,
        max_str_len=min(length, _LONGEST_NAME),
        max_map_len=min(length, _MOST_NAMES),
        max_array_len=min(length, _LONGEST_LIST),
    )


def _read_map(unpacker: msgpack.Unpacker, path: tuple[str, ...]) -> Mapping[str, Any]:
    pairs = []
    for _ in range(unpacker.read_map_header()):
        key = unpacker.unpack()
        inner = (*path, key)
        if inner in _SKIPPED:
            unpacker.skip()
        elif inner in _OPENED:
            pairs.append((key, _read_map(unpacker, inner)))
        else:
            pairs.append((key, unpacker.unpack()))
    return _once(pairs)


class _Names:
    """Makes the maps of a file, whose names are counted: each takes some hundred bytes, and three in the file."""

    def __init__(self) -> None:
        self._count = 0

    def __call__(self, pairs: Sequence[tuple[Any, Any]]) -> dict[str, Any]:
        self._count += 1 + len(pairs)
        if self._count > _MOST_NAMES:
            raise ValueError(f"it holds more than {_MOST_NAMES:,} names")
        return _once(pairs)


def _once(pairs: Sequence[tuple[Any, Any]]) -> dict[str, Any]:
    """A map whose names are text, each of them there once."""
    for name, _ in pairs:
        if not isinstance(name, str):
            raise ValueError(f"the name {str(name)[:40]!r} is no text")
    check_names(name for name, _ in pairs)
    return dict(pairs)


def _decode(code: int, data: bytes) -> Any:
    if code == _COMPLEX:
        return complex(*msgpack.unpackb(data))
    if code not in (_ARRAY, _SCALAR):
        raise ValueError(f"unknown extension type {code}")
    shape, name, buffer = msgpack.unpackb(data)
    dtype, shape = numeric_dtype(name), check_shape("a tensor", shape)
    check_length("a tensor", shape, dtype, len(buffer))
    array = np.frombuffer(buffer, dtype).reshape(shape)
    return array if code == _ARRAY else array[()]


def _encode(value: Any) -> msgpack.ExtType:
    array = np.asarray(value)
    triple = (array.shape, array.dtype.name, array.tobytes())
    return msgpack.ExtType(_ARRAY, msgpack.packb(triple, use_bin_type=True))
