"""What a SentencePiece model file says, for those who make its pieces without its library.

Source: `sentencepiece_model.proto` of https://github.com/google/sentencepiece, whose names these are.
"""

import dataclasses
import functools
from typing import Any

import numpy as np
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)
"""Types of pieces."""
_FLAGS = ("add_dummy_prefix", "remove_extra_whitespaces", "escape_whitespaces")
_UNIGRAM, _MODELS = 1, {2: "BPE", 3: "word", 4: "character"}
_PACKAGE = "keras_nest.sentencepiece"
# Field: number, type, default. "*" is a list.
_MESSAGES: dict[str, dict[str, tuple[int, str, str]]] = {
    "Piece": {"piece": (1, "string", ""), "score": (2, "float", "0"), "type": (3, "int32", "1")},
    "Trainer": {
        "model_type": (3, "int32", "1"),
        "treat_whitespace_as_suffix": (24, "bool", "false"),
        "byte_fallback": (35, "bool", "false"),
    },
    "Normalizer": {
        "precompiled_charsmap": (2, "bytes", ""),
        "add_dummy_prefix": (3, "bool", "true"),
        "remove_extra_whitespaces": (4, "bool", "true"),
        "escape_whitespaces": (5, "bool", "true"),
    },
    "Model": {
        "pieces": (1, "*Piece", ""),
        "trainer_spec": (2, "Trainer", ""),
        "normalizer_spec": (3, "Normalizer", ""),
    },
}


@dataclasses.dataclass(frozen=True)
class SentencePieceModel:
    """A unigram model.

    Attributes:
        pieces: text, score and type of each, in the order of the ids.
        rules: what the text is replaced by before, the longest first.
        flags: `add_dummy_prefix`, `remove_extra_whitespaces`, `escape_whitespaces` and `treat_whitespace_as_suffix`.
        byte_fallback: whether unknown characters become their bytes.
    """

    pieces: list[tuple[str, float, int]]
    rules: dict[str, str]
    flags: dict[str, bool]
    byte_fallback: bool


def read_sentencepiece(content: bytes, name: str) -> SentencePieceModel:
    """Reads a model file that SentencePiece itself has taken.

    Args:
        content: of the file.
        name: of the file, for messages.

    Raises:
        ValueError: it is no unigram model.
    """
    model = message_class()()
    model.ParseFromString(content)
    trainer, normalizer = model.trainer_spec, model.normalizer_spec
    if trainer.model_type != _UNIGRAM:
        kind = _MODELS.get(trainer.model_type, "another")
        raise ValueError(f"{name} is a SentencePiece model of the kind {kind}; a page reads only the kind unigram.")
    flags = {
        flag: getattr(normalizer, flag)
        for flag in ("add_dummy_prefix", "remove_extra_whitespaces", "escape_whitespaces")
    }
    return SentencePieceModel(
        [(piece.piece, piece.score, piece.type) for piece in model.pieces],
        _rules(normalizer.precompiled_charsmap),
        {**flags, "treat_whitespace_as_suffix": trainer.treat_whitespace_as_suffix},
        trainer.byte_fallback,
    )


@functools.cache
def message_class() -> Any:
    """The class of the whole file's message, with the fields that are read here; others are kept."""
    file = descriptor_pb2.FileDescriptorProto(name=f"{_PACKAGE}.proto", package=_PACKAGE, syntax="proto2")
    kinds = descriptor_pb2.FieldDescriptorProto
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for field, (number, kind, default) in fields.items():
            label = kinds.LABEL_REPEATED if kind.startswith("*") else kinds.LABEL_OPTIONAL
            added = message.field.add(name=field, number=number, label=label)
            if kind.lstrip("*") in _MESSAGES:
                added.type, added.type_name = kinds.TYPE_MESSAGE, f".{_PACKAGE}.{kind.lstrip('*')}"
            else:
                added.type, added.default_value = getattr(kinds, f"TYPE_{kind.upper()}"), default
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.Model"))


@functools.lru_cache(4)
def _rules(charsmap: bytes) -> dict[str, str]:
    """All that a compiled map replaces: keys lie in a double array of darts-clone, and behind it what they become.

    A unit of the array has its label in the lowest byte, whether a value is among its children in bit 8, and the place
    of its children in the others; a value has the highest bit set.
    """
    if not charsmap:
        return {}
    size = int.from_bytes(charsmap[:4], "little")
    units, texts = np.frombuffer(charsmap, "<u4", size // 4, 4), charsmap[4 + size :]
    labels = np.arange(1, 256)
    rules: dict[str, str] = {}
    keys, places = [b""], _children(units[:1])
    while keys:  # all of one length
        found = units[places[:, None] ^ labels]
        rows, columns = np.nonzero((found & 0x800000FF) == labels)
        nodes = found[rows, columns]
        keys = [keys[row] + bytes([column + 1]) for row, column in zip(rows, columns, strict=True)]
        places = places[rows] ^ labels[columns] ^ _children(nodes)
        for k in np.flatnonzero(nodes >> 8 & 1):
            start = int(units[places[k]]) & 0x7FFFFFFF
            rules[keys[k].decode()] = texts[start : texts.index(b"\0", start)].decode()
    return rules


def _children(nodes: np.ndarray) -> np.ndarray:
    return (nodes >> 10 << ((nodes & 0x200) >> 6)).astype(np.int64)
