"""What a page must know to make the token ids of a text: `tokenizer.js` reads it."""

import functools
import itertools
import unicodedata
from typing import Any

import numpy as np
import tensorflow as tf

from keras_nest.export.web.sentencepiece_model import read_unigram, rules_of
from keras_nest.optional import import_optional
from keras_nest.places import as_place
from keras_nest.tokenizers import BertTokenizer, SentencePieceTokenizer, Tokenizer, read_pieces
from keras_nest.untrusted.sentencepiece_file import BYTE, NORMAL, UNKNOWN, USER_DEFINED

# From here to there lie no characters.
_SURROGATES = range(0xD800, 0xE000)
_UNKNOWN_PENALTY = 10


def describe_tokenizer(tokenizer: Tokenizer) -> dict[str, Any]:
    """A tokenizer as a page has it.

    Args:
        tokenizer: made from the vocabulary file.

    Raises:
        ValueError: it is of no kind that a page knows.
    """
    if isinstance(tokenizer, BertTokenizer):
        return {"max_len": tokenizer.max_len, **_wordpiece(tokenizer)}
    if isinstance(tokenizer, SentencePieceTokenizer):
        return {"max_len": tokenizer.max_len, **_sentencepiece(tokenizer)}
    raise ValueError(f"The tokenizer is a {type(tokenizer).__name__}; a page knows WordPiece and SentencePiece.")


def _wordpiece(tokenizer: BertTokenizer) -> dict[str, Any]:
    # Bytes that are no characters occur in no text.
    pieces = [piece.decode(errors="replace") for piece in read_pieces(tokenizer.path)]
    rules, alone = _words_of_characters()
    unknown = pieces.index("[UNK]") if "[UNK]" in pieces else len(pieces)
    first = pieces.index("[CLS]")
    return {"kind": "wordpiece", "first": first, "unknown": unknown, "pieces": pieces, "rules": rules, "alone": alone}


@functools.cache
def _words_of_characters() -> tuple[dict[str, str], list[tuple[int, int]]]:
    """What TensorFlow Text makes of every character of Unicode before it looks for pieces.

    So a page needs no version of Unicode of its own, and browsers have several.

    Returns:
        What a character becomes, with spaces where words end, unless that is its canonical decomposition; and the
        ranges of those that stay and are words themselves.
    """
    characters = [chr(code) for code in itertools.chain(range(_SURROGATES.start), range(_SURROGATES.stop, 0x110000))]
    text = import_optional("tensorflow_text", "Tokenizers are built with TensorFlow Text", "[lit]")
    # No word is known, so that all come back as they are.
    nothing = tf.lookup.KeyValueTensorInitializer(tf.constant(["[CLS]"]), tf.constant([0], tf.int64))
    table = tf.lookup.StaticVocabularyTable(nothing, num_oov_buckets=1)
    words = text.BertTokenizer(table, token_out_type=tf.string, unknown_token=None, lower_case=True)
    # Between letters, to which it sticks or not.
    found = words.tokenize(tf.strings.join(["x", characters, "x"])).merge_dims(1, 2)
    made = (word.decode()[1:-1] for word in tf.strings.reduce_join(found, axis=1, separator=" ").numpy())
    rules, alone = {}, []
    for character, word in zip(characters, made, strict=True):
        if word == f" {character} ":
            alone.append(ord(character))
        elif word != unicodedata.normalize("NFD", character):
            rules[character] = word
    runs = np.split(np.array(alone), np.flatnonzero(np.diff(alone) != 1) + 1)
    return rules, [(int(run[0]), int(run[-1])) for run in runs]


def _sentencepiece(tokenizer: SentencePieceTokenizer) -> dict[str, Any]:
    model = read_unigram(as_place(tokenizer.path).read_bytes(), tokenizer.path)
    normal = [score for _, score, kind in model.pieces if kind == NORMAL]
    if not normal:
        raise ValueError(f"{tokenizer.path} has no pieces but special ones.")
    ids = {
        kind: [i for i, piece in enumerate(model.pieces) if piece[2] == kind] for kind in (UNKNOWN, BYTE, USER_DEFINED)
    }
    searched = [(i, *piece) for i, piece in enumerate(model.pieces) if piece[2] in (NORMAL, USER_DEFINED)]
    return {
        "kind": "sentencepiece",
        "end": next(i for i, piece in enumerate(model.pieces) if piece[0] == "</s>"),
        "unknown": ids[UNKNOWN][0],
        "unknown_score": _shortest(float(np.float32(min(normal)) - np.float32(_UNKNOWN_PENALTY))),
        "largest_score": _shortest(max(0.0, *normal)),
        "pieces": {piece: (i, _shortest(score)) for i, piece, score, _ in searched},
        "symbols": [model.pieces[i][0] for i in ids[USER_DEFINED]],
        "bytes": ids[BYTE] if model.byte_fallback else None,
        "rules": rules_of(model.charsmap, tokenizer.path),
        **model.flags,
    }


def _shortest(score: float) -> float:
    """Few digits that are the same number in float32."""
    return float(str(np.float32(score)))
