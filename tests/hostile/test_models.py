"""Models, vocabularies and records of runs that were made to do harm, or were cut off."""

import io
import json
import shutil
import struct
import zipfile

import h5py
import numpy as np
import pytest
import tensorflow as tf

import keras_nest
from keras_nest.conversion.save import write_checkpoint
from keras_nest.conversion.sources import read_checkpoint
from keras_nest.export.web.sentencepiece_model import rules_of
from keras_nest.finetune.plan import read_plan
from keras_nest.models import read_model
from keras_nest.models.weights_file import read_weights_file
from keras_nest.predict import open_predictor
from keras_nest.tokenizers import get_tokenizer
from keras_nest.training.history import read_history
from keras_nest.untrusted import limits
from keras_nest.untrusted.json_text import parse_json
from keras_nest.untrusted.sentencepiece_file import parse_sentencepiece
from tests import families
from tests.hostile.readers import GOLDEN
from tests.sentencepiece_message import message_class


@pytest.fixture(scope="module")
def nest_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("nest") / "model.keras"
    families.nest().save(path)
    return path


def with_member(source, target, name, change):
    """A copy of an archive with a member changed."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for info in old.infolist():
            content = old.read(info)
            new.writestr(info, change(content) if info.filename == name else content)
    return target


def with_field(source, target, field, value):
    def change(text):
        config = json.loads(text)
        assert field in config["config"]
        config["config"][field] = value
        return json.dumps(config).encode()

    return with_member(source, target, "config.json", change)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("embedding_dim", 100_000, "describes a model that is larger than the weights in it"),
        ("num_layers_per_block", [10**9, 1], "cannot be read"),
        ("num_classes", 10**8, "describes a model that is larger"),
    ],
)
def test_a_configuration_of_a_model_that_fills_the_memory(nest_file, tmp_path, field, value, message):
    with pytest.raises(ValueError, match=rf"bad\.keras .*{message}"):
        read_model(with_field(nest_file, tmp_path / "bad.keras", field, value))


def test_files_of_large_models_are_read(nest_file, monkeypatch):
    monkeypatch.setattr(limits, "SPARE", 0)
    monkeypatch.setattr("keras_nest.models.budget.SPARE", 0)
    assert read_model(nest_file).count_params() == families.nest().count_params()


def hdf5(change):
    """The weights in a .keras file, changed."""

    def changed(content):
        file = io.BytesIO(content)
        with h5py.File(file, "r+") as weights:
            names = []
            weights.visit(names.append)
            name = next(name for name in names if name.endswith("head/vars/0") or name.endswith("/0"))
            change(weights, name)
        return file.getvalue()

    return changed


def link_out(weights, name):
    del weights[name]
    weights[name] = h5py.ExternalLink("/etc/passwd", "/")


def link_inside(weights, name):
    del weights[name]
    weights[name] = h5py.SoftLink("/")


def lie_elsewhere(weights, name):
    shape = weights[name].shape
    del weights[name]
    weights.create_dataset(name, shape, "f4", external=[("/etc/hostname", 0, h5py.h5f.UNLIMITED)])


def claim(weights, name):
    del weights[name]
    weights.create_dataset(name, (10**5, 10**6), "f4", chunks=(1000, 1000))


def hold_text(weights, name):
    del weights[name]
    weights.create_dataset(name, data=np.array([b"text"]))


HDF5 = {
    link_out: "is a link",
    link_inside: "is a link",
    lie_elsewhere: "lies in another file",
    claim: "claim to hold 400,000,",
    hold_text: r"of the type '\|S4'",
}


@pytest.mark.parametrize(("change", "message"), HDF5.items(), ids=[change.__name__ for change in HDF5])
def test_weights_of_hdf5(nest_file, tmp_path, change, message):
    bad = with_member(nest_file, tmp_path / "bad.keras", "model.weights.h5", hdf5(change))
    with pytest.raises(ValueError, match=rf"bad\.keras cannot be read: .*{message}"):
        read_model(bad)
    with zipfile.ZipFile(bad) as archive:
        (tmp_path / "bad.weights.h5").write_bytes(archive.read("model.weights.h5"))
    with pytest.raises(ValueError, match=rf"bad\.weights\.h5 cannot be read: .*{message}"):
        read_weights_file(tmp_path / "bad.weights.h5")


@pytest.mark.parametrize("dtype", ["bfloat16", "mixed_bfloat16", "float16"])
def test_weights_of_other_floats_are_read(tmp_path, dtype):
    model = families.nest(dtype=dtype)
    model.save(tmp_path / "model.keras")
    found = read_model(tmp_path / "model.keras")
    for ours, theirs in zip(found.weights, model.weights, strict=True):
        np.testing.assert_array_equal(np.asarray(ours), np.asarray(theirs))


CONFIGS = {
    "": "is no JSON",
    "[]": "holds no names and values",
    '{"architecture": "vit_base_patch16_224", "model_args": 5}': "values of another kind",
    '{"architecture": "vit_base_patch16_224", "model_args": {"depth": 1000000000}}': "a model has 1,000 layers at most",
    '{"architecture": "vit_base_patch16_224", "model_args": {"embed_dim": 120000, "num_heads": 2}}': "fewer tensors",
    '{"architecture": "a", "architecture": "b"}': "holds 'architecture' twice",
    '{"a":' + "[" * 100_000: "is nested too deeply",
}


@pytest.mark.parametrize(("config", "message"), CONFIGS.items(), ids=[config[:60] for config in CONFIGS])
def test_a_config_of_pytorch_weights(tmp_path, config, message):
    shutil.copytree(GOLDEN / "timm" / "cases" / "vit_token", tmp_path / "vit")
    (tmp_path / "vit" / "config.json").write_text(config)
    with pytest.raises(ValueError, match=message):
        keras_nest.create_model(None, weights=tmp_path / "vit")


@pytest.mark.parametrize("name", ["config.json", "metrics.json"])
@pytest.mark.parametrize("content", [b"", b'{"top1": 0.', b"\xff\xfe\x00", b"[1]", b'{"a": 1, "a": 2}'])
def test_records_of_a_run_that_are_damaged(nest_file, tmp_path, name, content):
    shutil.copy(nest_file, tmp_path / "model.keras")
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=name):
        keras_nest.open_model(tmp_path)


def test_json_that_would_fill_the_memory():
    with pytest.raises(ValueError, match="is too large"):
        parse_json(b"[" + b"[]," * 2_000_000 + b"0]")


@pytest.mark.parametrize("text", ["step,loss\n1,x\n", "step,loss\n1e999,1\n", "loss\n1\n", "step\n1,2,3\n", "\0"])
def test_a_history_that_is_damaged(tmp_path, text):
    (tmp_path / "history.csv").write_text(text)
    with pytest.raises(ValueError, match=r"history\.csv cannot be read as a history"):
        read_history(tmp_path / "history.csv")


def sentencepiece(*fields):
    """A model with some fields (number, content)."""
    return b"".join(bytes([number << 3 | 2, len(content)]) + content for number, content in fields)


def piece(text):
    return 1, bytes([1 << 3 | 2, len(text)]) + text


def varint(number):
    return bytes([number & 127 | 128, number >> 7]) if number > 127 else bytes([number])


def rules(*units, texts=b"\0"):
    trie = struct.pack(f"<{len(units)}I", *units)
    content = struct.pack("<I", len(trie)) + trie + texts
    return 3, bytes([2 << 3 | 2, len(content)]) + content


def scored(score):
    return 1, b"\x0a\x01a\x15" + struct.pack("<f", score)


SENTENCEPIECE = {
    "too large": (bytes(2**23 + 1), "too large"),
    "a piece that is a number": (sentencepiece((1, b"\x0dabcd")), "no SentencePiece model"),
    "a score that is none": (sentencepiece(scored(float("nan"))), "without a score"),
    "a piece that is no text": (sentencepiece(piece(b"\xff")), "no text in UTF-8"),
    "no protobuf": (b"\xff" * 20, "no protobuf|truncated"),
    "no pieces": (b"", "has no pieces"),
    "a piece of zeros": (sentencepiece(piece(b"\0a")), "has the piece"),
    "a piece twice": (sentencepiece(piece(b"a"), piece(b"a")), "has the piece"),
    "cut off": (sentencepiece(piece(b"a"))[:-1], "truncated"),
    "rules that lead out": (sentencepiece(piece(b"a"), rules(1000 << 10)), "lead out of them"),
    "rules without a text": (sentencepiece(piece(b"a"), rules(0, texts=b"a")), "rules of characters are damaged"),
    "rules longer than they are": (sentencepiece(piece(b"a"), (3, b"\x12\x05\xff\xff\xff\x7f\0")), "are damaged"),
}


@pytest.mark.parametrize(("content", "message"), SENTENCEPIECE.values(), ids=SENTENCEPIECE)
def test_sentencepiece(tmp_path, content, message):
    (tmp_path / "bad.model").write_bytes(content)
    with pytest.raises(ValueError, match=rf"bad\.model cannot be read as a SentencePiece model: .*{message}"):
        get_tokenizer(tmp_path / "bad.model")


def test_rules_of_characters_without_end():
    """A letter that leads back to where it came from."""
    trie = struct.pack("<256I", 3 << 10, 2 << 10 | 2, *[0] * 254)
    charsmap = struct.pack("<I", len(trie)) + trie + b"\0"
    field = bytes([2 << 3 | 2]) + varint(len(charsmap)) + charsmap
    content = sentencepiece(piece(b"a")) + bytes([3 << 3 | 2]) + varint(len(field)) + field
    model = parse_sentencepiece(content)
    with pytest.raises(ValueError, match=r"x\.model has more, or longer, rules of characters than a page reads"):
        rules_of(model.charsmap, "x.model")


def test_sentencepiece_says_what_protobuf_does():
    content = (GOLDEN / "vit" / "tokenizer" / "sp.model").read_bytes()
    found, expected = parse_sentencepiece(content), message_class().FromString(content)
    assert found.pieces == [(piece.piece, piece.score, piece.type) for piece in expected.pieces]
    assert found.charsmap == expected.normalizer_spec.precompiled_charsmap
    assert found.model_type == expected.trainer_spec.model_type
    assert found.byte_fallback == expected.trainer_spec.byte_fallback
    given = {**fields_of_message(expected.normalizer_spec), **fields_of_message(expected.trainer_spec)}
    assert found.flags == {name: given[name] for name in found.flags}


def fields_of_message(message):
    return {field.name: getattr(message, field.name) for field in message.DESCRIPTOR.fields}


@pytest.fixture(scope="module")
def orbax(tmp_path_factory):
    path = tmp_path_factory.mktemp("orbax") / "orbax"
    write_checkpoint(families.nest(), path)
    return path


@pytest.mark.parametrize("harm", ["", "{]", "[" * 100_000, "{}"])
def test_metadata_of_orbax(orbax, tmp_path, harm):
    shutil.copytree(orbax, tmp_path / "orbax")
    (tmp_path / "orbax" / "_METADATA").write_text(harm)
    with pytest.raises(ValueError, match=r"The checkpoint .*orbax cannot be read: .*"):
        read_checkpoint(tmp_path / "orbax")


@pytest.fixture(scope="module")
def saved_model(tmp_path_factory):
    """A stranger's: images to logits."""
    path = tmp_path_factory.mktemp("saved_model") / "model"
    module = tf.Module()
    signature = [tf.TensorSpec((None, 4, 4, 3), tf.float32, "images")]
    module.serve = tf.function(lambda images: {"logits": images[:, 0, 0, :]}, signature, autograph=False)
    tf.saved_model.save(module, str(path), {"serving_default": module.serve})
    return path


def test_what_a_saved_model_can_do_is_said_once(saved_model, caplog):
    predictor = open_predictor(saved_model)
    assert predictor.probabilities([np.zeros((4, 4, 3), np.uint8)] * 2).shape == (2, 3)
    (message,) = [record.getMessage() for record in caplog.records if "is a program" in record.getMessage()]
    assert str(saved_model) in message


@pytest.mark.parametrize("harm", [b"", b"\xff" * 100, b"\x08\x01\x12"])
def test_a_saved_model_that_is_damaged(saved_model, tmp_path, harm):
    shutil.copytree(saved_model, tmp_path / "model")
    (tmp_path / "model" / "saved_model.pb").write_bytes(harm)
    with pytest.raises(ValueError, match=f"{tmp_path / 'model'} cannot be read as a SavedModel"):
        open_predictor(tmp_path / "model")


# A flatbuffer of a table without fields, and one with the version alone, with which the interpreter crashes.
TABLE = b"\x0c\0\0\0TFL3\x04\0\x04\0\x04\0\0\0"
VERSION = b"\x10\0\0\0TFL3\0\0\x06\0\x08\0\x04\0\x06\0\0\0\x03\0\0\0"


@pytest.mark.parametrize("content", [b"", TABLE, VERSION, b"TFL3" * 10, b"\x1c\0\0\0TFL3" + bytes(200)])
def test_a_tflite_file_that_is_damaged(tmp_path, content):
    (tmp_path / "bad.tflite").write_bytes(content)
    with pytest.raises(ValueError, match=r"bad\.tflite cannot be read as a TFLite file"):
        open_predictor(tmp_path / "bad.tflite")


def test_the_decisions_of_a_run_that_lack_something(tmp_path):
    (tmp_path / "finetune.json").write_text("{}")
    with pytest.raises(ValueError, match=r"finetune\.json lacks 'decisions'"):
        read_plan(tmp_path)
