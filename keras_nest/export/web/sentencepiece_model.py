"""What a page is told of a SentencePiece model, to make its pieces without the library."""

import functools

import numpy as np

from keras_nest.untrusted.sentencepiece_file import (
    BPE,
    CHAR,
    UNIGRAM,
    WORD,
    SentencePieceModel,
    parse_sentencepiece,
    trie_children,
    trie_units,
    trie_ways,
)

_NAMES = {BPE: "BPE", WORD: "word", CHAR: "character"}
# Twice those of NFKC. In a trie of strangers ways may lead back into it.
_MAX_RULES, _LONGEST_RULE = 500_000, 100


def read_unigram(content: bytes, name: str) -> SentencePieceModel:
    """Reads a model file that a tokenizer has taken.

    Args:
        content: of the file.
        name: of the file, for messages.

    Raises:
        ValueError: it is no unigram model.
    """
    model = parse_sentencepiece(content)
    if model.model_type != UNIGRAM:
        kind = _NAMES.get(model.model_type, "another")
        raise ValueError(f"{name} is a SentencePiece model of the kind {kind}; a page reads only the kind unigram.")
    return model


@functools.lru_cache(4)
def rules_of(charsmap: bytes, name: str) -> dict[str, str]:
    """All that a model replaces before it looks for pieces; the longest that fits counts.

    Args:
        charsmap: the compiled rules.
        name: of the file, for messages.

    Raises:
        ValueError: they have no end, or are no text.
    """
    if not charsmap:
        return {}
    units, texts = trie_units(charsmap)
    found: dict[bytes, bytes] = {}
    keys, places = [b""], trie_children(units[:1])
    while keys:  # all of one length, one longer each time
        rows, letters = trie_ways(units, places)
        if len(rows) + len(found) > _MAX_RULES or len(keys[0]) > _LONGEST_RULE:
            raise ValueError(f"{name} has more, or longer, rules of characters than a page reads.")
        nodes = units[places[rows] ^ letters]
        keys = [keys[row] + bytes([letter]) for row, letter in zip(rows, letters, strict=True)]
        places = places[rows] ^ letters ^ trie_children(nodes)
        for k in np.flatnonzero(nodes >> 8 & 1):
            start = int(units[places[k]]) & 0x7FFFFFFF
            found[keys[k]] = texts[start : texts.index(b"\0", start)]
    try:
        return {key.decode(): text.decode() for key, text in found.items()}
    except UnicodeDecodeError:
        raise ValueError(f"{name} has rules of characters that are no text in UTF-8.") from None
