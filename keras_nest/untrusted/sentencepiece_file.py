"""SentencePiece models: what the library takes for granted about one is looked at first, since it crashes otherwise.

A model is a protobuf (`sentencepiece_model.proto`): 1 pieces (1 text, 2 score, 3 kind), 2 trainer, 3 normalizer and 5
denormalizer (2 rules of characters). Rules are a length, a trie of that length (a double array of 32-bit units, as
Darts-clone writes it), and the texts that the leaves of the trie point into.
"""

from collections.abc import Iterator

import numpy as np

_PIECE, _NORMALIZER, _DENORMALIZER = 1, 3, 5
_TEXT, _RULES = 1, 2
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_LONGEST_PIECE = 4096

Field = tuple[int, int, int | memoryview]
"""Number, kind on the wire, value."""


def check_sentencepiece(content: bytes) -> None:
    """Refuses what would make the library read beside its memory.

    Args:
        content: of a model file.

    Raises:
        ValueError: it is damaged; the message goes on after the name of the file.
    """
    pieces: set[bytes] = set()
    for number, kind, value in _fields(memoryview(content)):
        if number == _PIECE:
            piece = b"".join(bytes(inner) for inner in _values(value, _TEXT))
            if not piece or b"\0" in piece or len(piece) > _LONGEST_PIECE or piece in pieces:
                raise ValueError(f"it has the piece {piece[:40]!r}, which is empty, too long, or there twice")
            pieces.add(piece)
        elif number in (_NORMALIZER, _DENORMALIZER):
            for rules in _values(value, _RULES):
                _check_rules(rules)
        elif number < _DENORMALIZER and kind != _BYTES:
            raise ValueError("it is no SentencePiece model")
    if not pieces:
        raise ValueError("it has no pieces")


def _values(message: int | memoryview, number: int) -> list[memoryview]:
    """Texts of a field of a message."""
    if isinstance(message, int):
        raise ValueError("it is no SentencePiece model")
    return [value for found, _, value in _fields(message) if found == number and isinstance(value, memoryview)]


def _fields(data: memoryview) -> Iterator[Field]:
    """What a protobuf message holds, in order."""
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        number, kind = key >> 3, key & 7
        if kind == _VARINT:
            value, at = _varint(data, at)
            yield number, kind, value
            continue
        if kind == _BYTES:
            size, at = _varint(data, at)
        elif kind in (_FIXED32, _FIXED64):
            size = 4 if kind == _FIXED32 else 8
        else:
            raise ValueError("it is no protobuf")
        if size > len(data) - at:
            raise ValueError("it is truncated")
        yield number, kind, data[at : at + size]
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


def _check_rules(rules: memoryview) -> None:
    """Walks through the trie: every way must stay in it, and every leaf point at a text that ends."""
    if not rules:
        return
    size = int.from_bytes(rules[:4], "little")
    texts = bytes(rules[4 + size :])
    if size == 0 or size % 4 or size > len(rules) - 4 or not texts.endswith(b"\0"):
        raise ValueError("its rules of characters are damaged")
    units = np.frombuffer(rules[4 : 4 + size], "<u4").astype(np.int64)
    # From the root, all nodes at one depth at a time; a node is seen once.
    seen, nodes = np.zeros(len(units), bool), np.zeros(1, np.int64)
    while len(nodes):
        seen[nodes] = True
        found = units[nodes]
        places = nodes ^ ((found >> 10) << ((found & 512) >> 6))
        ways = places[:, None] ^ np.arange(256)
        if ways.max() >= len(units):
            raise ValueError("its rules of characters lead out of them")
        _check_leaves(units[places[found & 256 > 0]], len(texts))
        matches = (units[ways] & 0x800000FF) == np.arange(256)
        matches[:, 0] = False  # a leaf, not a letter
        nodes = np.unique(ways[matches])
        nodes = nodes[~seen[nodes]]


def _check_leaves(leaves: np.ndarray, length: int) -> None:
    if len(leaves) and (leaves & 0x7FFFFFFF).max() >= length:
        raise ValueError("its rules of characters point behind their texts")
