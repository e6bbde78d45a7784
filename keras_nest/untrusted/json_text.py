"""JSON that somebody else may have written."""

import contextlib
import json
import os
import pathlib
from collections.abc import Iterator
from typing import Any

from keras_nest.places import Place, as_place

_MAX_BYTES = 2**28
# A value takes some sixty bytes, however short it is.
_MAX_VALUES = 1_000_000
_MAX_DEPTH = 100


def parse_json(text: bytes | str) -> Any:
    """The value of a JSON text.

    Raises:
        ValueError: it is none, holds a name twice, or is longer or deeper than anything that is read here; the message
            goes on after the name of the file.
    """
    text = text.encode() if isinstance(text, str) else text
    if len(text) > _MAX_BYTES or text.count(b",") + text.count(b"[") + text.count(b"{") > _MAX_VALUES:
        raise ValueError(f"is too large: {len(text):,} bytes")
    try:
        value = json.loads(text, object_pairs_hook=_once)
    except RecursionError:
        raise ValueError("is nested too deeply") from None
    except _TwiceError:
        raise
    except ValueError as error:
        raise ValueError(f"is no JSON ({error})") from None
    _check_depth(value)
    return value


def parse_object(text: bytes | str) -> dict[str, Any]:
    """The same of a text that must hold names and values.

    Raises:
        ValueError: as `parse_json`, or it holds something else.
    """
    value = parse_json(text)
    if not isinstance(value, dict):
        raise ValueError("holds no names and values")
    return value


def read_object(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The names and values in a JSON file, local or at an address.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: as `parse_object`, with the name of the file.
        OSError: it cannot be read.
    """
    place: Place = as_place(path)
    if isinstance(place, pathlib.Path) and place.is_file() and place.stat().st_size > _MAX_BYTES:
        raise ValueError(f"{place} is too large: {place.stat().st_size:,} bytes.")
    content = place.read_bytes()
    try:
        return parse_object(content)
    except ValueError as error:
        raise ValueError(f"{place} {error}; is it complete?") from None


@contextlib.contextmanager
def fields_of(path: str | os.PathLike[str]) -> Iterator[None]:
    """Says of fields that the block takes from a file that they are missing, or of another kind.

    Raises:
        ValueError: see above.
    """
    try:
        yield
    except (KeyError, TypeError, AttributeError, IndexError) as error:
        what = f"lacks {error}" if isinstance(error, KeyError) else "holds values of another kind than it should"
        raise ValueError(f"{os.fspath(path)} {what}; is it complete, and of this program?") from None


class _TwiceError(ValueError):
    """A name that stands twice in an object: readers differ in which of them they take."""


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise _TwiceError(f"holds {name[:80]!r} twice")
        found[name] = value
    return found


def _check_depth(value: Any) -> None:
    level, depth = [value], 0
    while level:
        if depth == _MAX_DEPTH:
            raise ValueError("is nested too deeply")
        inner = [each.values() if isinstance(each, dict) else each for each in level if isinstance(each, (dict, list))]
        level, depth = [value for values in inner for value in values], depth + 1
