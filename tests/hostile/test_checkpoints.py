"""Checkpoints that were made to do harm: refused in a sentence, before memory is taken for what they claim."""

import io
import json
import os
import resource
import struct
import zipfile

import msgpack
import numpy as np
import pytest

from keras_nest.conversion.npz_file import npz_image_size, read_npz
from keras_nest.conversion.sources import read_checkpoint
from keras_nest.untrusted import limits


def npy(shape, descr="<f4", data=b"", header=None):
    """A member of an .npz file that claims a shape."""
    text = header if header is not None else f"{{'descr': {descr!r}, 'fortran_order': False, 'shape': {shape!r}, }}"
    content = text.encode("latin1")
    content += b" " * (-(len(content) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(content)) + content + data


def npz(members, compression=zipfile.ZIP_DEFLATED):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        for name, content in members:
            archive.writestr(zipfile.ZipInfo(name), content, compression)
    return file.getvalue()


def flagged(content, member, end, value):
    """An archive with a byte set in the header of each member, and in the list of them."""
    content = bytearray(content)
    for signature, offset in ((b"PK\x03\x04", member), (b"PK\x01\x02", end)):
        at = content.find(signature)
        while at >= 0:
            content[at + offset] = value
            at = content.find(signature, at + 4)
    return bytes(content)


ONE = npy((1,), data=b"0000")
NPZ = {
    "16 GB in 300 bytes": (npz([("k.npy", npy((4 * 10**9,)))]), "does not fill its 0 bytes"),
    "10^30 floats": (npz([("k.npy", npy((10**30,)))]), "has the shape .*, which no tensor has"),
    "a negative size": (npz([("k.npy", npy((-5,), data=bytes(20)))]), "has the shape"),
    "a size that is no number": (npz([("k.npy", npy((True,), data=b"0000"))]), "has the shape"),
    "compressed zeros": (npz([("k.npy", npy((10**6,), data=bytes(4 * 10**6)))]), "bytes claim to hold"),
    "encrypted": (flagged(npz([("k.npy", ONE)]), 6, 8, 1), "is encrypted"),
    "an unknown compression": (flagged(npz([("k.npy", ONE)]), 8, 10, 99), "compressed in another way"),
    "lzma": (npz([("k.npy", ONE)], zipfile.ZIP_LZMA), "compressed in another way"),
    "text": (npz([("k.npy", npy((1,), "<U1", bytes(4)))]), "'k' is of the type '<U1'"),
    "bytes": (npz([("k.npy", npy((1,), "|S4", bytes(4)))]), r"of the type '\|S4'"),
    "dates": (npz([("k.npy", npy((1,), "<M8[s]", bytes(8)))]), "of the type 'datetime64"),
    "void": (npz([("k.npy", npy((1,), "|V4", bytes(4)))]), r"of the type '\|V4'"),
    "records": (npz([("k.npy", npy((1,), [("a", "<f4")], bytes(4)))]), "of the type"),
    "objects": (npz([("k.npy", npy((1,), "|O", bytes(8)))]), "of the type 'object'"),
    "complex numbers": (npz([("k.npy", npy((1,), "<c8", bytes(8)))]), "of the type 'complex64'"),
    "a header that is nested": (npz([("k.npy", npy((), header="(" * 5000))]), "a header that does not say"),
    "a header that is code": (npz([("k.npy", npy((), header="__import__('os').getcwd()"))]), "a header that does not"),
    "a header of 60 KB": (npz([("k.npy", npy((), header="{" + " " * 60000 + "}"))]), "a header that does not say"),
    "a member that is no array": (npz([("a.npy", ONE), ("k.npy", b"hello")]), "'k' is no array of NumPy"),
    "an array that is cut off": (npz([("a.npy", ONE), ("k.npy", ONE[:6])]), r"'k' is of the version \(\)"),
    "statistics that are no array": (npz([("batch_stats/x", b"hello")]), "holds no model parameters"),
    "a name that leads out": (npz([("../../x.npy", ONE)]), r"the name '\.\./\.\./x"),
    "a name from the root": (npz([("/etc/x.npy", ONE)]), "the name '/etc/x"),
    "an empty name": (npz([(".npy", ONE)]), "the name ''"),
    "a name with an escape": (npz([("a\x1b[31m.npy", ONE)]), r"the name 'a\\x1b"),
    "a name of a folder": (npz([("a/.npy", ONE), ("a.npy", ONE)]), "the name 'a/'"),
    "one tensor twice": (npz([("a.npy", ONE), ("a", ONE)]), "holds 'a' twice"),
    "one tensor under an old and a new name": (
        npz([(f"encoderblock_0/LayerNorm_{k}/bias.npy", ONE) for k in (1, 2)]),
        "LayerNorm_1/bias' twice",
    ),
    "truncated": (npz([("k.npy", ONE)])[:-30], "truncated or damaged"),
    "none": (npz([]), "no model parameters"),
}


def extension(shape, dtype, buffer):
    return msgpack.ExtType(1, msgpack.packb((shape, dtype, buffer)))


def packed(leaf):
    return msgpack.packb({"params": {"k": leaf}})


def raw(leaf):
    """A map of parameters whose leaf is bytes of msgpack."""
    return b"\x81\xa6params\x81\xa1k" + leaf


def nested(depth):
    return b"\x81\xa1a" * depth + b"\xc0"


CHUNKED = "__msgpack_chunked_array__"
FLOATS = extension((1,), "float32", b"0000")
MSGPACK = {
    "empty": (b"", "truncated"),
    "a list of 2^31": (raw(b"\xdd\x7f\xff\xff\xff"), "exceeds max_array_len"),
    "a map of 2^32": (raw(b"\xdf\xff\xff\xff\xff"), "exceeds max_map_len"),
    "4 GB of bytes": (raw(b"\xc6\xff\xff\xff\xff"), "truncated|exceeds"),
    "deep maps": (nested(900), "nested too deeply"),
    "deeper maps": (nested(5000), "nested too deeply"),
    "deep lists": (raw(b"\x91" * 5000), "nested too deeply"),
    "a name that is a list": (b"\x81\x91\x01\xc0", "unhashable|no text"),
    "a name that is a number": (b"\x81\x01\xc0", "no text"),
    "a name that leads out": (msgpack.packb({"params": {"..": FLOATS}}), r"the name '\.\.'"),
    "a name twice": (b"\x81\xa6params\x82" + 2 * (b"\xa1k" + msgpack.packb(FLOATS)), "'k' twice"),
    "a path twice": (msgpack.packb({"params": {"a": {"b": FLOATS}, "a/b": FLOATS}}), "'params/a/b' twice"),
    "objects": (packed(extension((1,), "O", bytes(8))), "of the type 'O'"),
    "records": (packed(extension((1,), "f4,f4", bytes(8))), "of the type 'f4,f4'"),
    "a dtype that breaks the parser": (packed(extension((1,), "f4,(2,", bytes(8))), "of the type"),
    "a dtype that is a number": (packed(extension((1,), 5, bytes(8))), "of the type"),
    "a negative size": (packed(extension((-1,), "float32", b"0000")), "has the shape"),
    "16 GB": (packed(extension((4 * 10**9,), "float32", b"0000")), "does not fill its 4 bytes"),
    "an array in parts without parts": (packed({CHUNKED: True}), "lacks some"),
    "an array in parts that lacks one": (packed({CHUNKED: True, "shape": {"1": 2}, "chunks": {}}), "lacks some"),
    "an array in parts of 16 GB": (
        packed({CHUNKED: True, "shape": {"0": 4 * 10**9}, "chunks": {"0": FLOATS}}),
        "does not fill its 4 bytes",
    ),
    "maps of maps": (packed({str(k): {"a": {}} for k in range(100_000)}), "holds more than 262,144 names"),
    "something behind it": (packed(FLOATS) + b"\xc0", "goes on behind its end"),
}


def safetensors(header, data=bytes(8)):
    text = json.dumps(header).encode() if isinstance(header, dict) else header
    return struct.pack("<Q", len(text)) + text + data


def entry(begin=0, end=8, shape=(2,)):
    return {"dtype": "F32", "shape": list(shape), "data_offsets": [begin, end]}


SAFETENSORS = {
    "tensors in each other": (safetensors({"a": entry(), "b": entry()}), "do not lie one behind the other"),
    "bytes of none": (safetensors({"a": entry(0, 4, (1,))}), "end at 4 of 8 bytes"),
    "a name twice": (safetensors(b'{"a": 1, "a": 2}'), "holds 'a' twice"),
    "a deep header": (safetensors(b'{"a":' + b"[" * 100_000), "nested too deeply"),
    "a size that is no whole number": (safetensors({"a": entry(shape=(2.0,))}), "does not say where 'a' lies"),
    "a dtype that is a list": (safetensors({"a": {**entry(), "dtype": []}}), r"of the type '\[\]'"),
}


def refused(path, content, message):
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"The checkpoint .*{path.name} cannot be read: .*{message}") as error:
        read_checkpoint(path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("content", "message"), NPZ.values(), ids=NPZ)
def test_npz(tmp_path, monkeypatch, content, message):
    monkeypatch.setattr(limits, "SPARE", 100_000)
    refused(tmp_path / "bad.npz", content, message)


@pytest.mark.parametrize(("content", "message"), MSGPACK.values(), ids=MSGPACK)
def test_msgpack(tmp_path, content, message):
    refused(tmp_path / "bad.msgpack", content, message)


@pytest.mark.parametrize(("content", "message"), SAFETENSORS.values(), ids=SAFETENSORS)
def test_safetensors(tmp_path, content, message):
    refused(tmp_path / "bad.safetensors", content, message)


def test_a_list_of_members_that_would_fill_the_memory(tmp_path):
    """`zipfile` makes an object for each, however few bytes of the file it takes."""
    content = npz([("k.npy", ONE)])
    end = content.rindex(b"PK\x05\x06")
    refused(tmp_path / "bad.npz", content[: end + 12] + struct.pack("<L", 2**30) + content[end + 16 :], "lists members")


def test_a_bomb_takes_no_memory(tmp_path):
    file = tmp_path / "bomb.npz"
    archive = zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=1)
    with archive, archive.open("k.npy", "w") as member:
        member.write(npy((75 * 10**6,)))
        for _ in range(300):
            member.write(bytes(10**6))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    refused(file, file.read_bytes(), "claim to hold 300,000,")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000


@pytest.mark.parametrize("comment", [b"{]", b"[" * 10_000, b'{"image_size": [1e999, 3]}', b'{"image_size": "a"}'])
def test_a_comment_of_somebody_else_tells_no_size(comment):
    file = io.BytesIO(npz([("k.npy", ONE)]))
    with zipfile.ZipFile(file, "a") as archive:
        archive.comment = comment
    assert npz_image_size(file) is None
    file.seek(0)
    assert read_npz(file)["params/k"].shape == (1,)


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", ["<f4", ">f4", "<f2", "<i8", "|u1"])
def test_what_numpy_writes_is_read_as_it_stands(dtype, order):
    value = np.arange(24).reshape(2, 3, 4).astype(dtype, order=order)
    file = io.BytesIO()
    np.savez_compressed(file, k=value, scalar=np.float32(3))
    file.seek(0)
    found = read_npz(file)
    np.testing.assert_array_equal(found["params/k"], value)
    assert found["params/scalar"] == 3


@pytest.mark.parametrize("name", ["bad.npz", "bad.msgpack", "bad.safetensors", "bad.pth"])
def test_a_pipe_is_not_waited_for(tmp_path, name):
    os.mkfifo(tmp_path / name)
    with pytest.raises(ValueError, match="is a pipe or a device"):
        read_checkpoint(tmp_path / name)


def test_a_pickle_of_millions_of_instructions(tmp_path):
    refused(tmp_path / "bad.pth", b"\x80\x02" + b"]" * 1_100_000 + b".", "more than 1,000,000 instructions")


def test_a_pickle_whose_keys_take_for_ever(tmp_path):
    """A pair of a pair of a pair …: the hash of the last looks at 2^60 things."""
    pairs = b"K\x01" + b"".join(b"q" + bytes([k]) + b"h" + bytes([k]) + b"\x86" for k in range(60))
    refused(tmp_path / "bad.pth", b"\x80\x02}" + pairs + b"K\x01s.", "a tuple for a key")
