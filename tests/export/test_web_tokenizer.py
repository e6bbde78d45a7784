"""The tokenizers of pages, run by node: token ids of the reference, and of TensorFlow Text on texts of any kind."""

import importlib.resources
import json
import shutil
import subprocess

import hypothesis
import pytest
from hypothesis import strategies

from keras_nest.export.web.tokenizer import describe_tokenizer
from keras_nest.tokenizers import get_tokenizer
from keras_nest.untrusted.sentencepiece_file import BYTE, NORMAL, USER_DEFINED
from tests.sentencepiece_message import message_class
from tests.test_tokenizers import FILES, FOLDER, GOLDEN, TEXTS

pytestmark = pytest.mark.skipif(shutil.which("node") is None, reason="there is no program `node`")

# Reads a line [facts, texts] of JSON, and writes one of token ids.
ANSWER = """
import { createInterface } from "node:readline";
import { makeTokenizer } from "./tokenizer.js";
let tokenize;
for await (const line of createInterface({ input: process.stdin })) {
  const [facts, texts] = JSON.parse(line);
  if (facts) tokenize = makeTokenizer(facts);
  const found = texts.map(tokenize).map(({ ids, length, unknown }) => [...ids, length, unknown]);
  console.log(JSON.stringify(found));
}
"""
# Words of both vocabularies, and what normalizers and cutters look at.
WORDS = ["cat", "dogs", "the", "walking", "unbelievable", "sun", "##s", "[CLS]", "[UNK]", "</s>", "<unk>", "qqq"]
SIGNS = list(" \t\0\u00a0\u200b\u3000\u2581\u00ad.,!…—ßİ①\u0301\u0345가你豈😀\U000e0001ΩǅẛΣς")
SIGNS += ["ｶﾞ", "ﬁ", "ﷺ", "  ", "12 3", "e\u0301", "\u1100\u1161", "👩\u200d👧", "\u302e\u0323", "?!"]
PARTS = strategies.one_of(strategies.sampled_from(WORDS + SIGNS), strategies.text(max_size=4))
SOME = strategies.lists(PARTS, max_size=12).map("".join)

# What becomes of a million characters takes seconds to ask.
KINDS = [pytest.param("bert", marks=pytest.mark.slow), "sentencepiece"]


class Node:
    """A process that makes token ids as pages do."""

    def __init__(self, folder):
        for name in ("tokenizer.js", "wordpiece.js", "sentencepiece.js"):
            shutil.copy(importlib.resources.files("keras_nest.export.web") / name, folder)
        (folder / "package.json").write_text('{"type": "module"}')
        (folder / "answer.js").write_text(ANSWER)
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        self.process = subprocess.Popen(["node", folder / "answer.js"], text=True, encoding="utf-8", **pipes)

    def take(self, tokenizer):
        self.ask(describe_tokenizer(tokenizer), [])

    def ask(self, facts, texts):
        self.process.stdin.write(json.dumps([facts, texts]) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def check(self, tokenizer, texts):
        """Ids and lengths are those of the tokenizer."""
        found = self.ask(None, texts)
        ids, lengths = tokenizer(texts).numpy(), tokenizer.lengths(texts).numpy()
        for text, row, expected, length in zip(texts, found, ids, lengths, strict=True):
            assert row[:-1] == [*expected.tolist(), length], text


@pytest.fixture(scope="module")
def node(tmp_path_factory):
    started = Node(tmp_path_factory.mktemp("node"))
    with started.process:  # ends when its input does
        yield started
        started.process.stdin.close()


@pytest.mark.parametrize("max_len", [16, 5])
@pytest.mark.parametrize("kind", KINDS)
def test_the_reference(node, kind, max_len):
    node.take(get_tokenizer(FILES[kind], max_len))
    assert [row[:-2] for row in node.ask(None, TEXTS)] == GOLDEN[kind][f"max_len_{max_len}"]


@pytest.mark.slow
def test_a_vocabulary_without_unk(node):
    golden = GOLDEN["bert"]["without_unk_entry"]
    node.take(get_tokenizer(FOLDER / "vocab_nounk.txt", golden["max_len"]))
    assert [row[:-2] for row in node.ask(None, golden["texts"])] == golden["ids"]


def fuzz(node, tokenizer, examples=150):
    """Texts of any kind, several at a time."""
    node.take(tokenizer)

    @hypothesis.settings(max_examples=examples, deadline=None, database=None, derandomize=True)
    @hypothesis.given(strategies.lists(SOME, min_size=1, max_size=8))
    def check(texts):
        node.check(tokenizer, texts)

    check()


@pytest.mark.slow
@pytest.mark.parametrize("kind", FILES)
def test_texts_of_any_kind(node, kind):
    fuzz(node, get_tokenizer(FILES[kind], 48))


def changed(folder, **change):
    """The reference's SentencePiece model with other fields; `scores`, `types` are of pieces by their text."""
    model = message_class().FromString(FILES["sentencepiece"].read_bytes())
    for field, value in change.get("types", {}).items():
        known = [piece for piece in model.pieces if piece.piece == field]
        (known[0] if known else model.pieces.add(piece=field)).type = value
    for piece in model.pieces:
        if piece.type == NORMAL and "score" in change:
            piece.score = change["score"](piece.piece)
    for field in ("add_dummy_prefix", "remove_extra_whitespaces", "escape_whitespaces", "precompiled_charsmap"):
        if field in change:
            setattr(model.normalizer_spec, field, change[field])
    for field in ("treat_whitespace_as_suffix", "byte_fallback", "model_type"):
        if field in change:
            setattr(model.trainer_spec, field, change[field])
    file = folder / "changed.model"
    file.write_bytes(model.SerializeToString())
    return file


CHANGES = {
    "no prefix": {"add_dummy_prefix": False},
    "all spaces": {"remove_extra_whitespaces": False},
    "spaces behind": {"treat_whitespace_as_suffix": True},
    "plain spaces": {"escape_whitespaces": False, "types": {" ": NORMAL, " cat": NORMAL}},
    "no rules": {"precompiled_charsmap": b""},
    "symbols": {"types": {"qqq": USER_DEFINED, " the": USER_DEFINED, "ca": USER_DEFINED, "ﬁsh": USER_DEFINED, "th": 5}},
    "bytes": {"byte_fallback": True, "types": {f"<0x{byte:02X}>": BYTE for byte in range(256)}},
    "ties": {"score": lambda piece: -0.1 * len(piece)},
    "scores above 0": {"score": lambda piece: 0.3 * len(piece), "types": {"qqq": USER_DEFINED}},
}


@pytest.mark.parametrize("change", [*CHANGES])
def test_other_models(node, change, tmp_path):
    fuzz(node, get_tokenizer(changed(tmp_path, **CHANGES[change]), 48), 25)


def test_other_kinds_of_models(tmp_path):
    tokenizer = get_tokenizer(changed(tmp_path, model_type=2))
    with pytest.raises(ValueError, match="is a SentencePiece model of the kind BPE; a page reads only"):
        describe_tokenizer(tokenizer)


@pytest.mark.slow
@pytest.mark.parametrize("kind", FILES)
def test_every_character(node, kind):
    """Between letters, and after one that it may be composed with; of those that nothing is known of, one of 99."""
    tokenizer = get_tokenizer(FILES[kind], 12)
    node.take(tokenizer)
    known = {*describe_tokenizer(tokenizer)["rules"], *map(chr, range(0x300)), *map(chr, range(0, 0xD800, 99))}
    known |= {chr(code) for code in range(0xE000, 0x110000, 99)}
    node.check(tokenizer, [f"t{character}e" for character in sorted(known)])
