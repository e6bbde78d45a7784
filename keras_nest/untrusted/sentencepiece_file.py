"""SentencePiece models: what one says, once it is sure that it does not crash the library.

A model is a protobuf (`sentencepiece_model.proto` of https://github.com/google/sentencepiece, whose names these are).
Its rules of characters are a length, a trie of that length (a double array of 32-bit units, as Darts-clone writes it),
and the texts that the leaves of the trie point into.
"""

import dataclasses
import math
import struct
from collections.abc import Iterator
from typing import TypeAlias

import numpy as np

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)
"""Types of pieces."""

UNIGRAM, BPE, WORD, CHAR = range(1, 5)
"""Types of models."""

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_LONGEST_PIECE = 4096
# Nearly twice the largest that is published. A field takes two bytes, and Python half a microsecond for it.
_MAX_BYTES = 2**23
_NODES = 2**14  # of a trie at a time

Value: TypeAlias = int | bytes | memoryview
"""A number of any length, one of a fixed length, or a text or message; the library ignores what is of another kind."""


@dataclasses.dataclass(frozen=True)
class SentencePieceModel:
    """What a model file says.

    Attributes:
        pieces: text, score and type of each, in the order of the ids.
        model_type: see `UNIGRAM` and the others.
        charsmap: compiled rules of what replaces characters before.
        flags: `add_dummy_prefix`, `remove_extra_whitespaces`, `escape_whitespaces` and `treat_whitespace_as_suffix`.
        byte_fallback: whether unknown characters become their bytes.
    """

    pieces: list[tuple[str, float, int]]
    model_type: int
    charsmap: bytes
    flags: dict[str, bool]
    byte_fallback: bool


def parse_sentencepiece(content: bytes) -> SentencePieceModel:
    """Reads a model, and refuses what would make the library read beside its memory.

    Args:
        content: of a model file.

    Raises:
        ValueError: it is damaged; the message goes on after the name of the file.
    """
    if len(content) > _MAX_BYTES:
        raise ValueError(f"it is too large: {len(content):,} bytes")
    pieces: list[tuple[str, float, int]] = []
    trainer: dict[int, Value] = {}
    normalizer: dict[int, Value] = {}
    seen: set[str] = set()
    for number, value in _fields(memoryview(content)):
        if number == 1:
            piece = _piece(value)
            if piece[0] in seen:
                raise ValueError(f"it has the piece {piece[0][:40]!r} twice")
            seen.add(piece[0])
            pieces.append(piece)
        elif number == 2:
            trainer.update(_fields(value))
        elif number in (3, 5):  # 5 is used on the way back
            rules = dict(_fields(value))
            _check_rules(_bytes(rules.get(2, memoryview(b""))))
            if number == 3:
                normalizer.update(rules)
        elif number == 4 and not isinstance(value, memoryview):
            raise ValueError("it is no SentencePiece model")
    if not pieces:
        raise ValueError("it has no pieces")
    flags = {
        "add_dummy_prefix": bool(normalizer.get(3, True)),
        "remove_extra_whitespaces": bool(normalizer.get(4, True)),
        "escape_whitespaces": bool(normalizer.get(5, True)),
        "treat_whitespace_as_suffix": bool(trainer.get(24, False)),
    }
    charsmap = bytes(_bytes(normalizer.get(2, memoryview(b""))))
    return SentencePieceModel(pieces, _int(trainer.get(3, UNIGRAM)), charsmap, flags, bool(trainer.get(35, False)))


def trie_units(charsmap: bytes | memoryview) -> tuple[np.ndarray, bytes]:
    """The trie of compiled rules, uint32 (n,), and the texts behind it.

    A unit has its label in the lowest byte, whether a value is among its children in bit 8, and the place of its
    children in the others; a value has the highest bit set.

    Raises:
        ValueError: they do not fill the rules.
    """
    size = int.from_bytes(charsmap[:4], "little")
    texts = bytes(charsmap[4 + size :])
    if size == 0 or size % 4 or size > len(charsmap) - 4 or not texts.endswith(b"\0"):
        raise ValueError("its rules of characters are damaged")
    return np.frombuffer(charsmap, "<u4", size // 4, 4), texts


def trie_children(units: np.ndarray) -> np.ndarray:
    """What the label of a child and the place of its parent are combined with to find its place, int64."""
    return (units >> 10 << ((units & 0x200) >> 6)).astype(np.int64)


def trie_ways(units: np.ndarray, places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Which letters lead on from nodes.

    Args:
        units: of the trie.
        places: of the children of each node, (N,).

    Returns:
        Node, and letter from 1 on, of each way; sorted by nodes.

    Raises:
        ValueError: a node lies out of the trie.
    """
    letters = np.arange(256)
    rows, steps = [], []
    for start in range(0, len(places), _NODES):
        ways = places[start : start + _NODES, None] ^ letters
        if ways.max() >= len(units):
            raise ValueError("its rules of characters lead out of them")
        nodes, found = np.nonzero((units[ways] & 0x800000FF) == letters)
        rows.append(nodes[found > 0] + start)  # 0 is a value, and no letter
        steps.append(found[found > 0])
    return np.concatenate(rows), np.concatenate(steps)


def _piece(message: Value) -> tuple[str, float, int]:
    """Text, score and type."""
    fields = dict(_fields(message))
    text = bytes(_bytes(fields.get(1, memoryview(b""))))
    if not text or b"\0" in text or len(text) > _LONGEST_PIECE:
        raise ValueError(f"it has the piece {text[:40]!r}, which is empty or too long, or holds a zero")
    score = fields.get(2, bytes(4))
    if not isinstance(score, bytes) or len(score) != 4 or not math.isfinite(number := struct.unpack("<f", score)[0]):
        raise ValueError(f"it has the piece {text[:40]!r} without a score")
    try:
        return text.decode(), number, _int(fields.get(3, NORMAL))
    except UnicodeDecodeError:
        raise ValueError(f"it has the piece {text[:40]!r}, which is no text in UTF-8") from None


def _bytes(value: Value) -> memoryview:
    if not isinstance(value, memoryview):
        raise ValueError("it is no SentencePiece model")
    return value


def _int(value: Value) -> int:
    if not isinstance(value, int):
        raise ValueError("it is no SentencePiece model")
    return value


def _fields(message: Value) -> Iterator[tuple[int, Value]]:
    """Number and value of what a protobuf message holds, in order; the last of a number counts."""
    data, at = _bytes(message), 0
    while at < len(data):
        key, at = _varint(data, at)
        number, kind = key >> 3, key & 7
        if kind == _VARINT:
            value, at = _varint(data, at)
            yield number, value
            continue
        if kind == _BYTES:
            size, at = _varint(data, at)
        elif kind in (_FIXED32, _FIXED64):
            size = 4 if kind == _FIXED32 else 8
        else:
            raise ValueError("it is no protobuf")
        if size > len(data) - at:
            raise ValueError("it is truncated")
        yield number, data[at : at + size] if kind == _BYTES else bytes(data[at : at + size])
        at += size


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    """A number of a length of its own, and where it ends."""
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(data):
            raise ValueError("it is truncated")
        value |= (data[at] & 127) << shift
        at += 1
        if data[at - 1] < 128:
            return value, at
    raise ValueError("it is no protobuf")


def _check_rules(charsmap: memoryview) -> None:
    """Walks through the trie: every way must stay in it, and every leaf point at a text that ends."""
    if not charsmap:
        return
    units, texts = trie_units(charsmap)
    # From the root, all nodes at one depth at a time; a node is seen once.
    seen, nodes = np.zeros(len(units), bool), np.zeros(1, np.int64)
    while len(nodes):
        seen[nodes] = True
        places = nodes ^ trie_children(units[nodes])
        rows, letters = trie_ways(units, places)
        leaves = units[places[units[nodes] & 256 > 0]]
        if len(leaves) and (leaves & 0x7FFFFFFF).max() >= len(texts):
            raise ValueError("its rules of characters point behind their texts")
        nodes = np.unique(places[rows] ^ letters)
        nodes = nodes[~seen[nodes]]
