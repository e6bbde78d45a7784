"""Safetensors files, read strictly: what a header claims must lie in the file.

Format: https://huggingface.co/docs/safetensors — eight bytes with the length of a JSON header, the header, the tensors.
"""

import json
from collections.abc import Iterable, Mapping
from typing import Any, BinaryIO

import ml_dtypes
import numpy as np

from keras_nest.untrusted.json_text import parse_object
from keras_nest.untrusted.tensors import check_length, check_shape

_DTYPES: dict[str, Any] = {
    "F64": np.float64,
    "F32": np.float32,
    "F16": np.float16,
    "BF16": ml_dtypes.bfloat16,
    "I64": np.int64,
    "I32": np.int32,
    "I16": np.int16,
    "I8": np.int8,
    "U8": np.uint8,
    "BOOL": np.bool_,
}
# The format's own limit.
_MAX_HEADER = 100_000_000
_GIT_LFS = b"version https://git-lfs"


def read_safetensors(file: BinaryIO) -> dict[str, np.ndarray]:
    """Tensors by name, in the dtypes of the file.

    Args:
        file: binary file, read once from front to back.

    Raises:
        ValueError: damaged, or not such a file; the message goes on after a colon.
    """
    data = memoryview(file.read())
    header, start = _header(data)
    header.pop("__metadata__", None)
    tensors = {name: _tensor(name, entry, data[start:]) for name, entry in header.items()}
    _check_places([entry["data_offsets"] for entry in header.values()], len(data) - start)
    return tensors


def write_safetensors(tensors: Mapping[str, np.ndarray], file: BinaryIO) -> None:
    """Writes float32 tensors, as PyTorch's programs expect them.

    Args:
        tensors: by name.
        file: binary file open for writing.
    """
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, value in tensors.items():
        begin, end = end, end + 4 * value.size
        header[name] = {"dtype": "F32", "shape": list(value.shape), "data_offsets": [begin, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    file.write(len(text).to_bytes(8, "little") + text)
    for value in tensors.values():
        file.write(np.ascontiguousarray(value, "<f4").tobytes())


def _header(data: memoryview) -> tuple[dict[str, Any], int]:
    if bytes(data[: len(_GIT_LFS)]) == _GIT_LFS:
        raise ValueError("it is a pointer of Git LFS and not the file; `git lfs pull` fetches that")
    start = 8 + int.from_bytes(data[:8], "little")
    if len(data) < 8 or bytes(data[8:9]) != b"{":
        raise ValueError("it is no safetensors file")
    if start > min(len(data), _MAX_HEADER):
        raise ValueError(f"it is damaged: its header claims {start - 8:,} of {len(data):,} bytes")
    try:
        return parse_object(bytes(data[8:start])), start
    except ValueError as error:
        raise ValueError(f"it is damaged: its header {error}") from None


def _check_places(places: Iterable[tuple[int, int]], length: int) -> None:
    """Refuses tensors that lie in each other, or bytes that are of none, as the format does."""
    last = 0
    for begin, end in sorted(map(tuple, places)):
        if begin != last:
            raise ValueError(f"it is damaged: its tensors do not lie one behind the other at {last:,}")
        last = end
    if last != length:
        raise ValueError(f"it is damaged: its tensors end at {last:,} of {length:,} bytes")


def _tensor(name: str, entry: Any, data: memoryview) -> np.ndarray:
    try:
        kind, (begin, end) = entry["dtype"], entry["data_offsets"]
        shape = check_shape(name, entry["shape"])
        check_shape(name, (begin, end))
    except (TypeError, KeyError, ValueError):
        raise ValueError(f"it is damaged: its header does not say where {name!r} lies") from None
    if not isinstance(kind, str) or kind not in _DTYPES:
        raise ValueError(f"{name!r} is of the type {str(kind)[:40]!r}; read are {', '.join(_DTYPES)}")
    if end > len(data) or begin > end:
        raise ValueError(f"it is truncated or damaged: {name!r} should end at {end:,} of {len(data):,} bytes")
    dtype = np.dtype(_DTYPES[kind])
    check_length(name, shape, dtype, end - begin)
    return np.frombuffer(data[begin:end], dtype).reshape(shape)
