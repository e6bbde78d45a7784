"""Tokenizers of the LiT text towers, made from the published vocabulary files by `tensorflow-text`."""

import collections
import logging
import os
from collections.abc import Sequence
from types import ModuleType
from typing import ClassVar

import keras
import tensorflow as tf

from keras_nest.keras_private import sentencepiece_tokenizer
from keras_nest.models.text import Bert, TextModel, TextTransformer
from keras_nest.optional import import_optional
from keras_nest.places import as_place
from keras_nest.untrusted.sentencepiece_file import parse_sentencepiece

_LOGGER = logging.getLogger(__name__)
_CLS, _UNK, _EOS = b"[CLS]", b"[UNK]", b"</s>"
# The largest that is published, of LaBSE, has 501,153 pieces in 5 MB.
_MAX_PIECES, _MAX_VOCABULARY = 600_000, 2**24
_FILES: dict[type, str] = {Bert: "a WordPiece vocabulary (.txt)", TextTransformer: "a SentencePiece model (.model)"}


def get_tokenizer(path: str | os.PathLike[str], max_len: int = 16) -> "Tokenizer":
    """The tokenizer that a vocabulary file is made for.

    >>> tokenizer = get_tokenizer("LiT-B16B_2.txt")
    >>> tokenizer(["a dog", "a cat"])  # int32 (2, 16)

    Args:
        path: published vocabulary, local or at an address (gs://…): `.txt` is WordPiece (BERT towers), `.model` is
            SentencePiece (text transformers).
        max_len: tokens of a text.

    Returns:
        A `BertTokenizer` or a `SentencePieceTokenizer`.

    Raises:
        ValueError: another suffix, a broken file, an address that TensorFlow does not know, or a max_len below 1.
        FileNotFoundError: there is no such file.
        ModuleNotFoundError: tensorflow-text is not installed.
    """
    kinds = {".txt": BertTokenizer, ".model": SentencePieceTokenizer}
    suffix = as_place(path).suffix
    if suffix not in kinds:
        raise ValueError(f"{path} must end in .txt (WordPiece of a BERT tower) or .model (SentencePiece).")
    return kinds[suffix](path, max_len)


def check_tokenizer(tokenizer: "Tokenizer", text_model: keras.Model) -> None:
    """Refuses a tokenizer whose ids mean nothing to a text tower.

    Args:
        tokenizer: of the texts.
        text_model: tower that takes ids (B, N). Of one that is not of this package, N is checked, and the rows of the
            embedding if it sees the ids first.

    Raises:
        ValueError: the tokenizer is of the other kind, gives another number of tokens, or has more ids than the tower.
    """
    tower = type(text_model)
    if tower in _FILES and tokenizer.TOWER not in (None, tower):
        raise ValueError(
            f"{tokenizer.path} is for the other kind of text tower; {tower.__name__} takes {_FILES[tower]}."
        )
    length = text_model.input_shape[1]
    if tokenizer.max_len != length:
        raise ValueError(
            f"The tokenizer gives {tokenizer.max_len} tokens a text, but the text tower takes {length}; "
            f"make it with max_len={length}."
        )
    if rows := _embedding_rows(text_model):
        tokenizer.check_fits(rows)


def _embedding_rows(text_model: keras.Model) -> int | None:
    """Ids that a text tower knows, if it shows."""
    if isinstance(text_model, TextModel):
        return text_model.config["vocab_size"]
    embeddings = [layer for layer in text_model.layers if isinstance(layer, keras.layers.Embedding)]
    return next((layer.input_dim for layer in embeddings if layer.input is text_model.inputs[0]), None)


class Tokenizer(tf.Module):
    """From strings to token ids of a fixed length; what both kinds share.

    Works eagerly, inside `tf.data` (on batches of texts; one text becomes a batch of one) and inside a `tf.function`.
    A SavedModel holds the vocabulary if the tokenizer is an attribute of the saved module; loading it needs neither
    this package nor the vocabulary file, but `import tensorflow_text` first, which registers the operations; without it
    TensorFlow says "Op type not registered".

    Bytes that are not UTF-8 count as U+FFFD, an unknown character.

    Attributes:
        TOWER: the kind of text tower whose tokens these are; None if any.
        path: of the vocabulary file.
        max_len: tokens of a text, N.
        vocab_size: ids that can occur: 0 to vocab_size − 1. An embedding needs as many rows.
    """

    TOWER: ClassVar[type[TextModel] | None] = None
    vocab_size: int

    def __init__(self, path: str | os.PathLike[str], max_len: int) -> None:
        super().__init__()
        if max_len < 1:
            raise ValueError(f"max_len is {max_len}; it must be at least 1.")
        place = as_place(path)
        if not place.is_file():
            raise FileNotFoundError(f"{place} does not exist; it must be the vocabulary file of the text tower.")
        self.max_len = max_len
        self.path = str(place)

    def __call__(self, texts: str | Sequence[str] | tf.Tensor) -> tf.Tensor:
        """Token ids of texts.

        Args:
            texts: a string, a list of strings or a string tensor () or (B,); of any length, B may be 0.

        Returns:
            int32 (B, N); B is 1 for a single string.

        Raises:
            ValueError: not strings, or more than one axis.
        """
        return self._token_ids(as_texts(texts))

    def lengths(self, texts: str | Sequence[str] | tf.Tensor) -> tf.Tensor:
        """How many tokens texts have before they are cut or filled up to N.

        Args:
            texts: as for a call.

        Returns:
            int32 (B,), with the token at the start or end.

        Raises:
            ValueError: as for a call.
        """
        return tf.cast(self._rows(as_texts(texts)).row_lengths(), tf.int32) + 1

    def check_fits(self, embedding_rows: int) -> None:
        """Refuses a vocabulary with more ids than a text tower knows.

        Args:
            embedding_rows: rows of the tower's token embedding.

        Raises:
            ValueError: there are fewer rows than ids; the sentence names both.
        """
        if self.vocab_size > embedding_rows:
            raise ValueError(
                f"{self.path} has {self.vocab_size} tokens, but the embedding of the text tower has "
                f"{embedding_rows} rows; give the vocabulary file that belongs to the weights."
            )
        if self.vocab_size < embedding_rows:
            _LOGGER.warning(
                f"{self.path} has {self.vocab_size} tokens and the text tower an embedding of {embedding_rows} rows; "
                "is it the vocabulary file that belongs to the weights?"
            )

    def _token_ids(self, texts: tf.Tensor) -> tf.Tensor:
        """Of strings (B,), int32 (B, N)."""
        raise NotImplementedError

    def _rows(self, texts: tf.Tensor) -> tf.RaggedTensor:
        """Of strings (B,), the ids of all pieces."""
        raise NotImplementedError


class BertTokenizer(Tokenizer):
    """WordPiece as BERT's lower-case models use it: `[CLS]`, the pieces, then 0 up to N tokens.

    * Text: NFKC case folding (ligatures and full-width forms become plain letters, ß becomes ss, zero-width characters
      go), NFD without combining marks; control and format characters become spaces.
    * Words: split at ASCII white space, at punctuation and ASCII symbols, and at CJK characters; the latter two are
      words themselves. Special tokens in the text are plain text: "[CLS]" is three words.
    * Pieces: the longest that matches, then those with `##`. A word of more than 100 bytes, or without a full match, is
      one `[UNK]`; in a vocabulary without `[UNK]` its id is the number of lines.
    * No `[SEP]`; of long texts the first N − 1 pieces remain. Padding is 0 whatever the id of `[PAD]`.

    Source: LiT reference `vit_jax/preprocess.py`. The stock `tensorflow_text.BertTokenizer(lower_case=True)` does all
    of the text, words and pieces, with a table that has one bucket for unknown words.

    Args:
        path: text file with a piece a line; the line numbers, from 0, are the ids.
        max_len: tokens of a text, N, the first of them `[CLS]`.

    Raises:
        ValueError: the file has no line `[CLS]` or one line twice, or max_len is below 1.
        FileNotFoundError: there is no such file.
        ModuleNotFoundError: tensorflow-text is not installed.
    """

    TOWER = Bert

    def __init__(self, path: str | os.PathLike[str], max_len: int = 16) -> None:
        super().__init__(path, max_len)
        pieces = read_pieces(path)
        self.vocab_size = len(pieces) + (_UNK not in pieces)
        self._cls = pieces.index(_CLS)
        # The pieces are constants: tables initialized from a file need the file whenever a SavedModel is made.
        ids = tf.lookup.KeyValueTensorInitializer(tf.constant(pieces), tf.range(len(pieces), dtype=tf.int64))
        table = tf.lookup.StaticVocabularyTable(ids, num_oov_buckets=1)
        self._pieces = _tensorflow_text().BertTokenizer(table, token_out_type=tf.int32, lower_case=True)

    def _token_ids(self, texts: tf.Tensor) -> tf.Tensor:
        rows = self._rows(texts).to_tensor(0, shape=(None, self.max_len - 1))
        return tf.pad(rows, [[0, 0], [1, 0]], constant_values=self._cls)

    def _rows(self, texts: tf.Tensor) -> tf.RaggedTensor:
        return self._pieces.tokenize(texts).merge_dims(1, 2)


class SentencePieceTokenizer(Tokenizer):
    """SentencePiece with a sticky end: the pieces, then `</s>` up to N tokens; the last token is always `</s>`.

    There is no token for the start; of long texts the first N − 1 pieces remain. The model file itself says how the
    text is normalized.

    Source: LiT reference `vit_jax/preprocess.py`. The stock `tensorflow_text.SentencepieceTokenizer` gives the pieces.

    Args:
        path: SentencePiece model.
        max_len: tokens of a text, N, the last of them `</s>`.

    Raises:
        ValueError: the file is no SentencePiece model or has no `</s>`, or max_len is below 1.
        FileNotFoundError: there is no such file.
        ModuleNotFoundError: tensorflow-text is not installed.
    """

    TOWER = TextTransformer

    def __init__(self, path: str | os.PathLike[str], max_len: int = 16) -> None:
        super().__init__(path, max_len)
        _tensorflow_text()
        content = as_place(path).read_bytes()
        try:
            parse_sentencepiece(content)
        except ValueError as error:
            raise ValueError(f"{path} cannot be read as a SentencePiece model: {error}.") from None
        try:
            self._pieces = sentencepiece_tokenizer(content)
        except tf.errors.OpError as error:
            raise ValueError(
                f"{path} cannot be read as a SentencePiece model; give the published .model file."
            ) from error
        self.vocab_size = int(self._pieces.vocab_size())
        self._eos = int(self._pieces.string_to_id(_EOS))
        if self._pieces.id_to_string(self._eos) != _EOS:
            raise ValueError(f"{path} has no token {_EOS.decode()}; the texts of LiT end in it.")

    def _token_ids(self, texts: tf.Tensor) -> tf.Tensor:
        rows = self._rows(texts).to_tensor(self._eos, shape=(None, self.max_len - 1))
        return tf.pad(rows, [[0, 0], [0, 1]], constant_values=self._eos)

    def _rows(self, texts: tf.Tensor) -> tf.RaggedTensor:
        return self._pieces.tokenize(texts)


def as_texts(texts: str | Sequence[str] | tf.Tensor) -> tf.Tensor:
    """Texts as a string tensor (B,).

    Args:
        texts: a string, a list of strings or a string tensor () or (B,).

    Raises:
        ValueError: not strings, or more than one axis.
    """
    try:
        texts = tf.convert_to_tensor(texts, tf.string)
    except (TypeError, ValueError) as error:
        raise ValueError("The texts must be a string, a list of strings or a string tensor.") from error
    if texts.shape.rank is not None and texts.shape.rank > 1:
        raise ValueError(f"The texts have shape {texts.shape}; they must be one string or one axis of strings.")
    return tf.reshape(texts, [-1])


def read_pieces(path: str | os.PathLike[str]) -> list[bytes]:
    """The lines of a WordPiece vocabulary; only line feeds end one, unlike in Python.

    Raises:
        ValueError: the file has no line `[CLS]`, or one line twice.
    """
    content = as_place(path).read_bytes()
    if len(content) > _MAX_VOCABULARY or content.count(b"\n") > _MAX_PIECES:
        raise ValueError(f"{path} has more than {_MAX_PIECES:,} pieces, or is larger than any vocabulary.")
    content = content.replace(b"\r\n", b"\n")
    pieces = content.removesuffix(b"\n").split(b"\n")
    if _CLS not in pieces:
        raise ValueError(f"{path} has no line {_CLS.decode()}; it must be a WordPiece vocabulary with a piece a line.")
    ((piece, count),) = collections.Counter(pieces).most_common(1)
    if count > 1:
        raise ValueError(f"{path} has {count} lines {piece.decode(errors='replace')!r}; each piece must have one line.")
    return pieces


def _tensorflow_text() -> ModuleType:
    """TF Text, which only tokenizers need."""
    return import_optional("tensorflow_text", "Tokenizers are built with TensorFlow Text", "[lit]")
