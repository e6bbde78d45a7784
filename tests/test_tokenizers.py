"""Tokenizers: token ids of the reference, wherever texts may come from, and what is wrong with a vocabulary."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import ClassVar

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_nest.models import Bert, TextTransformer
from keras_nest.tokenizers import BertTokenizer, SentencePieceTokenizer, check_tokenizer, get_tokenizer

FOLDER = Path(__file__).parent / "golden" / "vit" / "tokenizer"
GOLDEN = json.loads((FOLDER / "tokens.json").read_text())
TEXTS = GOLDEN["texts"]
FILES = {"bert": FOLDER / "vocab.txt", "sentencepiece": FOLDER / "sp.model"}
# Loads a SavedModel where this package and the vocabulary cannot be had.
CONSUMER = """
import json, sys
sys.modules["keras_nest"] = None
import tensorflow as tf
import tensorflow_text
loaded = tf.saved_model.load(sys.argv[1])
texts = tf.constant(json.load(open(sys.argv[2])))
json.dump({name: getattr(loaded, name)(texts).numpy().tolist() for name in ("bert", "sentencepiece")}, sys.stdout)
"""


@pytest.fixture(scope="module")
def bert():
    return get_tokenizer(FILES["bert"])


@pytest.fixture(scope="module")
def sentencepiece():
    return get_tokenizer(FILES["sentencepiece"])


@pytest.fixture(params=FILES)
def tokenizer(request):
    return request.getfixturevalue(request.param)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Both tokenizers, saved; their files are gone."""
    folder = tmp_path_factory.mktemp("saved")
    module = tf.Module()
    module.tokenizers = []
    for kind, file in FILES.items():
        tokenizer = get_tokenizer(shutil.copy(file, folder))
        module.tokenizers.append(tokenizer)
        setattr(module, kind, tf.function(tokenizer, input_signature=[tf.TensorSpec([None], tf.string)]))
        (folder / file.name).unlink()
    tf.saved_model.save(module, folder / "model")
    return folder / "model"


def expected(tokenizer, max_len=16):
    kind = "bert" if isinstance(tokenizer, BertTokenizer) else "sentencepiece"
    return np.array(GOLDEN[kind][f"max_len_{max_len}"])


def vocabulary(folder, *pieces):
    file = folder / "vocab.txt"
    file.write_text("".join(f"{piece}\n" for piece in pieces), "utf-8")
    return file


class TestAgainstTheReference:
    @pytest.mark.parametrize("max_len", [16, 5])
    @pytest.mark.parametrize("kind", FILES)
    def test_all_token_ids(self, kind, max_len):
        tokenizer = get_tokenizer(FILES[kind], max_len)
        ids = tokenizer(TEXTS).numpy()
        assert ids.dtype == np.int32
        wrong = [
            text for text, got, want in zip(TEXTS, ids, expected(tokenizer, max_len), strict=True) if any(got != want)
        ]
        assert wrong == []

    def test_a_vocabulary_without_unk(self):
        golden = GOLDEN["bert"]["without_unk_entry"]
        tokenizer = BertTokenizer(FOLDER / "vocab_nounk.txt", golden["max_len"])
        assert tokenizer(golden["texts"]).numpy().tolist() == golden["ids"]
        assert tokenizer.vocab_size == golden["vocab_lines"] + 1

    def test_sizes(self, bert, sentencepiece):
        assert bert.vocab_size == len(FILES["bert"].read_text().splitlines())
        assert sentencepiece.vocab_size == GOLDEN["sentencepiece"]["model"]["size"]


class TestTexts:
    @pytest.mark.parametrize("text", ["NAÏVE café", "über 你好", "qqq", "", "a cat " * 1000])
    def test_one_text_is_a_batch_of_one(self, tokenizer, text):
        want = tokenizer([text, "cat"]).numpy()[:1]
        assert want.shape == (1, 16)
        for given in (text, text.encode(), tf.constant(text), np.array([text]), (text,), tf.constant([text])):
            np.testing.assert_array_equal(tokenizer(given), want)

    def test_no_texts(self, tokenizer):
        assert tokenizer([]).shape == (0, 16)

    def test_a_single_token_is_the_special_one(self):
        assert BertTokenizer(FILES["bert"], 1)(["cat", ""]).numpy().tolist() == [[3], [3]]
        assert SentencePieceTokenizer(FILES["sentencepiece"], 1)(["cat", ""]).numpy().tolist() == [[1], [1]]

    def test_bytes_that_are_not_utf8_are_unknown(self, bert, sentencepiece):
        assert bert([b"cat \xff dog"]).numpy()[0, :4].tolist() == [3, 22, 2, 23]
        assert 2 in sentencepiece([b"cat \xff dog"]).numpy()

    @pytest.mark.slow
    def test_in_tf_data(self, tokenizer):
        data = tf.data.Dataset.from_tensor_slices(TEXTS).batch(10).map(tokenizer)
        assert data.element_spec.shape[1] == 16
        np.testing.assert_array_equal(np.concatenate(list(data.as_numpy_iterator())), expected(tokenizer))

    def test_in_a_function_that_knows_no_shape(self, tokenizer):
        function = tf.function(tokenizer, input_signature=[tf.TensorSpec(None, tf.string)])
        np.testing.assert_array_equal(function(tf.constant(TEXTS)), expected(tokenizer))

    def test_after_a_seed(self, tokenizer):
        function = tf.function(tokenizer, input_signature=[tf.TensorSpec(None, tf.string)])
        before = tokenizer(TEXTS[:3]).numpy()
        np.testing.assert_array_equal(function(TEXTS[:3]), before)
        keras.utils.set_random_seed(3)
        np.testing.assert_array_equal(tokenizer(TEXTS[:3]), before)
        np.testing.assert_array_equal(function(TEXTS[:3]), before)

    @pytest.mark.parametrize("texts", [3, [1, 2], None, ["cat", None], tf.constant([1])], ids=str)
    def test_what_is_no_text(self, tokenizer, texts):
        with pytest.raises(ValueError, match="must be a string, a list of strings or a string tensor"):
            tokenizer(texts)

    def test_more_than_one_axis(self, tokenizer):
        with pytest.raises(ValueError, match=r"shape \(1, 2\); they must be one string or one axis"):
            tokenizer([["a dog", "a cat"]])


class TestSavedModel:
    @pytest.mark.parametrize("kind", FILES)
    def test_ids(self, saved, kind):
        ids = getattr(tf.saved_model.load(saved), kind)(TEXTS)
        np.testing.assert_array_equal(ids, GOLDEN[kind]["max_len_16"])

    @pytest.mark.slow
    def test_ids_in_a_process_without_this_package(self, saved, tmp_path):
        texts = tmp_path / "texts.json"
        texts.write_text(json.dumps(TEXTS))
        command = [sys.executable, "-I", "-c", CONSUMER, saved, texts]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        assert json.loads(done.stdout) == {kind: GOLDEN[kind]["max_len_16"] for kind in FILES}


class TestVocabularies:
    def test_the_suffix_decides(self, bert, sentencepiece, tmp_path):
        assert type(bert) is BertTokenizer
        assert type(sentencepiece) is SentencePieceTokenizer
        with pytest.raises(ValueError, match=r"vocab\.json must end in \.txt .* or \.model"):
            get_tokenizer(tmp_path / "vocab.json")

    def test_a_tower_with_too_few_rows(self, tokenizer):
        tokenizer.check_fits(tokenizer.vocab_size)
        tokenizer.check_fits(30522)
        with pytest.raises(ValueError, match=rf"has {tokenizer.vocab_size} tokens, but .* has 32 rows"):
            tokenizer.check_fits(32)

    def test_padding_is_zero_whatever_is_on_line_zero(self, tmp_path):
        tokenizer = BertTokenizer(vocabulary(tmp_path, "cat", "[UNK]", "[CLS]", "[PAD]"), 4)
        assert tokenizer(["dog", "cat"]).numpy().tolist() == [[2, 1, 0, 0], [2, 0, 0, 0]]

    def test_lines_of_windows(self, tmp_path):
        file = vocabulary(tmp_path, "[PAD]\r", "[UNK]\r", "[CLS]\r", "cat\r")
        assert BertTokenizer(file, 3)("cat").numpy().tolist() == [[2, 3, 0]]

    def test_only_line_feeds_end_a_line(self, tmp_path):
        file = vocabulary(tmp_path, "[PAD]", "[UNK]", "\u2028", "[CLS]", "cat")
        assert BertTokenizer(file, 3)("cat").numpy().tolist() == [[3, 4, 0]]

    @pytest.mark.parametrize("kind", FILES)
    def test_no_file(self, kind, tmp_path):
        with pytest.raises(FileNotFoundError, match="does not exist; it must be the vocabulary file"):
            get_tokenizer(tmp_path / FILES[kind].name)

    @pytest.mark.parametrize("pieces", [(), ("[UNK]", "cat")], ids=["empty", "other"])
    def test_no_cls(self, pieces, tmp_path):
        with pytest.raises(ValueError, match=r"has no line \[CLS\]"):
            get_tokenizer(vocabulary(tmp_path, *pieces))

    def test_a_line_twice(self, tmp_path):
        with pytest.raises(ValueError, match="has 2 lines 'über'"):
            get_tokenizer(vocabulary(tmp_path, "[CLS]", "über", "cat", "über"))

    @pytest.mark.parametrize("size", [0, 1000, 200_000])
    def test_a_broken_sentencepiece_model(self, size, tmp_path):
        file = tmp_path / "sp.model"
        file.write_bytes(FILES["sentencepiece"].read_bytes()[:size])
        with pytest.raises(ValueError, match=r"sp\.model cannot be read as a SentencePiece model"):
            get_tokenizer(file)

    def test_a_sentencepiece_model_without_end(self, tmp_path):
        file = tmp_path / "sp.model"
        file.write_bytes(FILES["sentencepiece"].read_bytes().replace(b"</s>", b"</e>"))
        with pytest.raises(ValueError, match=r"sp\.model has no token </s>"):
            get_tokenizer(file)

    @pytest.mark.parametrize("kind", FILES)
    def test_no_room(self, kind):
        with pytest.raises(ValueError, match="max_len is 0; it must be at least 1"):
            get_tokenizer(FILES[kind], 0)

    @pytest.mark.parametrize("kind", FILES)
    def test_without_tensorflow_text(self, kind, monkeypatch):
        monkeypatch.setitem(sys.modules, "tensorflow_text", None)
        with pytest.raises(ModuleNotFoundError, match=r"pip install 'keras-nest\[lit\]'"):
            get_tokenizer(FILES[kind])


class TestTowers:
    SMALL: ClassVar = {"max_len": 16, "num_layers": 1, "num_heads": 1, "mlp_dim": 2}

    def tower(self, kind, **fields):
        if kind == "bert":
            return Bert(hidden_size=2, **{**self.SMALL, **fields})
        return TextTransformer(width=2, **{**self.SMALL, **fields})

    def test_the_tokenizer_of_a_tower(self, bert, sentencepiece):
        check_tokenizer(bert, self.tower("bert", vocab_size=bert.vocab_size))
        check_tokenizer(sentencepiece, self.tower("text", vocab_size=sentencepiece.vocab_size))

    def test_of_the_other_kind(self, bert, sentencepiece):
        with pytest.raises(
            ValueError, match=r"sp\.model is for the other .* Bert takes a WordPiece vocabulary \(\.txt\)"
        ):
            check_tokenizer(sentencepiece, self.tower("bert"))
        with pytest.raises(
            ValueError, match=r"vocab\.txt is .* TextTransformer takes a SentencePiece model \(\.model\)"
        ):
            check_tokenizer(bert, self.tower("text"))

    def test_another_length(self, bert):
        with pytest.raises(ValueError, match=r"gives 16 tokens a text, but the text tower takes 8; .* max_len=8"):
            check_tokenizer(bert, self.tower("bert", max_len=8))

    def test_too_few_rows(self, bert):
        with pytest.raises(ValueError, match=f"has {bert.vocab_size} tokens, but .* has 32 rows"):
            check_tokenizer(bert, self.tower("bert", vocab_size=32))

    @pytest.mark.parametrize("kind", FILES)
    def test_a_tower_of_another_package(self, kind, request):
        tokenizer = request.getfixturevalue(kind)
        ids = keras.Input((16,), dtype="int32")
        check_tokenizer(tokenizer, keras.Model(ids, keras.ops.one_hot(ids, 2)))
        check_tokenizer(tokenizer, keras.Model(ids, keras.layers.Embedding(tokenizer.vocab_size, 2)(ids)))
        check_tokenizer(tokenizer, keras.Model(ids, keras.layers.Embedding(8, 2)(keras.ops.minimum(ids, 7))))
        with pytest.raises(ValueError, match="has 8 rows"):
            check_tokenizer(tokenizer, keras.Model(ids, keras.layers.Embedding(8, 2)(ids)))
        with pytest.raises(ValueError, match="has 8 rows"):
            check_tokenizer(tokenizer, keras.Sequential([keras.Input((16,)), keras.layers.Embedding(8, 2)]))
        with pytest.raises(ValueError, match="16 tokens a text, but the text tower takes 4"):
            check_tokenizer(tokenizer, keras.Sequential([keras.Input((4,)), keras.layers.Embedding(8, 2)]))


class TestLengths:
    def test_before_texts_are_cut_or_filled_up(self, bert, sentencepiece):
        for tokenizer in (bert, sentencepiece):
            long = get_tokenizer(tokenizer.path, 4000)
            texts = [*TEXTS, "", "a " * 3000]
            full = long(texts).numpy()
            filling = 0 if isinstance(tokenizer, BertTokenizer) else full[-1, -1]
            lengths = tokenizer.lengths(texts).numpy()
            for row, length in zip(full, lengths, strict=True):
                assert (row[length:] == filling).all()
            assert lengths[-2] == 1
            assert lengths[-1] > 3000


def test_a_vocabulary_smaller_than_the_embedding_is_told(bert, caplog):
    bert.check_fits(bert.vocab_size)
    assert not caplog.records
    bert.check_fits(bert.vocab_size + 1)
    assert "is it the vocabulary file that belongs to the weights?" in caplog.text
