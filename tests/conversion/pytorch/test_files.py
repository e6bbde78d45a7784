"""Files of tensors: every way in which users have them, and damaged and hostile ones."""

import io
import json
import pickle
import struct
import zipfile

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import load as load_safetensors

import keras_nest
from keras_nest.conversion.pytorch.files import read_tensors
from keras_nest.conversion.pytorch.pickle_file import read_torch
from keras_nest.conversion.pytorch.safetensors_file import read_safetensors, write_safetensors
from tests.golden import timm_loading

FILES = timm_loading.FOLDER / "files"
VIT = timm_loading.FOLDER / "cases" / "vit_token" / "model.safetensors"
SAME = [
    *("legacy.pth", "one_storage.pth", "strided.pth", "parameters.pth", "data_parallel.pth", "compiled.pth"),
    *("model_key.pth", "timm_train_checkpoint.pth.tar", "sharded/model.safetensors.index.json"),
]


def tensors_of(path):
    return read_tensors(str(path), lambda name: open(name, "rb"))


@pytest.mark.parametrize("name", SAME)
def test_the_same_tensors_whatever_the_file(name):
    found, expected = tensors_of(FILES / name), load_safetensors(VIT.read_bytes())
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        np.testing.assert_array_equal(found[key], value, err_msg=key)


def test_half_precision():
    found, expected = tensors_of(FILES / "bfloat16.safetensors"), tensors_of(VIT)
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value.astype(ml_dtypes.bfloat16), err_msg=name)
    model = keras_nest.create_model(weights=str(FILES / "sharded"))
    assert {str(np.asarray(weight).dtype) for weight in model.trainable_weights} == {"float32"}


def test_what_is_written_others_read():
    tensors = {
        "a.weight": np.arange(6, dtype=np.float32).reshape(3, 2).T,
        "b": np.float32(2),
        "empty": np.zeros((0, 3)),
    }
    file = io.BytesIO()
    write_safetensors(tensors, file)
    for read in (load_safetensors(file.getvalue()), read_safetensors(io.BytesIO(file.getvalue()))):
        assert read.keys() == tensors.keys()
        for name, value in tensors.items():
            np.testing.assert_array_equal(read[name], value)


def changed(header=None, tail=None, length=None):
    """vit_token's safetensors with another header, end, or length of the header."""
    data = VIT.read_bytes()
    size = struct.unpack("<Q", data[:8])[0]
    content = json.loads(data[8 : 8 + size])
    text = json.dumps(content | (header or {})).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data[8 + size :][:tail]


WRONG = {
    "truncated": (lambda: changed(tail=-100), r"truncated or damaged: .* should end at"),
    "a header larger than the file": (lambda: changed(length=2**60), "its header claims 1,152,921,504,606,846,976"),
    "an end outside": (
        lambda: changed({"x": {"dtype": "F32", "shape": [1], "data_offsets": [2**40, 2**40 + 4]}}),
        "'x' should end at",
    ),
    "a shape that does not fill": (
        lambda: changed({"x": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 4]}}),
        r"'x' of shape \(1099511627776,\) does not fill its 4 bytes",
    ),
    "an unknown type": (
        lambda: changed({"x": {"dtype": "F8_E4M3", "shape": [4], "data_offsets": [0, 4]}}),
        "'x' is of the type 'F8_E4M3'; read are F64",
    ),
    "no place": (lambda: changed({"x": {"dtype": "F32"}}), "does not say where 'x' lies"),
    "text": ((FILES / "bad" / "not_safetensors.safetensors").read_bytes, "it is no safetensors file"),
    "a pointer": ((FILES / "bad" / "git_lfs_pointer.safetensors").read_bytes, "pointer of Git LFS"),
    "nothing": (lambda: b"", "it is no safetensors file"),
}


@pytest.mark.parametrize("what", WRONG)
def test_damaged_safetensors(what, tmp_path):
    content, message = WRONG[what]
    path = tmp_path / "model.safetensors"
    path.write_bytes(content())
    with pytest.raises(ValueError, match=rf"The checkpoint .*model\.safetensors cannot be read: .*{message}"):
        keras_nest.create_model("ViT-S_16", weights=str(path))


@pytest.mark.parametrize(
    ("name", "asked"), [("runs_code", "print"), ("evaluates", "eval"), ("whole_module", "container.Sequential")]
)
def test_nothing_of_a_file_is_run(name, asked, capfd):
    with pytest.raises(ValueError, match=rf"it asks for '.*{asked}', which no file of weights needs, and nothing"):
        keras_nest.create_model("ViT-S_16", weights=str(FILES / "bad" / f"{name}.pth"))
    assert "".join(capfd.readouterr()) == ""


def archive(pickled, storage=b"\0" * 16, compression=zipfile.ZIP_STORED):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as found:
        found.writestr("x/data.pkl", pickled)
        found.writestr("x/data/0", storage)
    file.seek(0)
    return file


def tensor(offset, shape, strides):
    """A pickle of {"x": tensor} of four numbers, as torch writes it."""

    def number(value):
        return b"\x8a\x08" + struct.pack("<q", value)

    def numbers(values):
        return b"(" + b"".join(map(number, values)) + b"t"

    key = b"(X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\x000X\x03\0\0\0cpu" + number(4) + b"tQ"
    arguments = b"(" + key + number(offset) + numbers(shape) + numbers(strides) + b"\x89ccollections\nOrderedDict\n)Rt"
    return b"\x80\x02}X\x01\0\0\0xctorch._utils\n_rebuild_tensor_v2\n" + arguments + b"Rs."


def test_hostile_archives_take_no_memory_that_they_do_not_have():
    np.testing.assert_array_equal(read_torch(archive(tensor(1, (2,), (1,))))["x"], [0, 0])
    for view in ((0, (2**40,), (0,)), (0, (5,), (1,)), (3, (2,), (1,)), (-1, (1,), (1,)), (3, (2,), (-1,))):
        with pytest.raises(ValueError, match="'x' reaches outside of its storage"):
            read_torch(archive(tensor(*view)))
    with pytest.raises(ValueError, match="its records claim"):
        read_torch(archive(tensor(0, (1,), (1,)), bytes(2**22), zipfile.ZIP_DEFLATED))
    huge = b"\x80\x04\x96" + struct.pack("<Q", 2**60) + b"x."  # a bytearray of an exbibyte
    memo = b"\x80\x02}r\xff\xff\xff\xff."  # number 2^32 - 1 of what is remembered
    for pickled in (huge, memo, b"\x80\x02", b".", b"}a.", b"\x80\x02}(u"):
        with pytest.raises(ValueError, match="it "):
            read_torch(archive(pickled))


def test_other_files_get_a_sentence():
    for content in (b"", b"PK", b"hello", pickle.dumps({"x": 1}), pickle.dumps(1, 0), archive(pickle.dumps({})).read()):
        with pytest.raises(ValueError, match=r"^it "):
            read_torch(io.BytesIO(content))
    whole = (FILES / "legacy.pth").read_bytes()
    for end in range(10, len(whole), len(whole) // 12):
        with pytest.raises(ValueError, match=r"^it "):
            read_torch(io.BytesIO(whole[:end]))


def test_shards_that_are_missing_or_elsewhere(tmp_path):
    index = tmp_path / "model.safetensors.index.json"
    for places, message in (
        ({"x": "model-1.safetensors"}, "the file model-1.safetensors that it names is missing"),
        ({"x": "../secret.safetensors"}, "which is none of weights beside it"),
    ):
        index.write_text(json.dumps({"weight_map": places}))
        with pytest.raises(ValueError, match=message):
            keras_nest.create_model("ViT-S_16", weights=str(tmp_path))
    index.write_text("[]")
    with pytest.raises(ValueError, match="no index of files of weights"):
        keras_nest.create_model("ViT-S_16", weights=str(index))
