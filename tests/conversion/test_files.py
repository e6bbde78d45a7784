"""Reading and writing each kind of checkpoint file."""

import io
import pathlib

import flax.serialization
import ml_dtypes
import numpy as np
import pytest

from keras_nest.conversion.msgpack_file import read_msgpack, write_msgpack
from keras_nest.conversion.npz_file import read_npz, write_npz
from keras_nest.conversion.orbax_directory import read_orbax, write_orbax
from keras_nest.conversion.tree import flatten, select_variables, unflatten
from tests.golden import loading

RNG = np.random.default_rng(0)
TREE = {
    "params/a/Dense_10/kernel": RNG.standard_normal((2, 3)).astype(np.float32),
    "params/a/Dense_2/kernel": RNG.standard_normal(()).astype(np.float32),
    "params/b": np.arange(4, dtype=np.int32),
    "params/half": RNG.standard_normal(3).astype(ml_dtypes.bfloat16),
    "batch_stats/a/BatchNorm_0/mean": RNG.standard_normal(5).astype(np.float32),
}


def same(ours, theirs):
    assert set(ours) == set(theirs)
    for path, value in theirs.items():
        assert ours[path].dtype == value.dtype, path
        np.testing.assert_array_equal(ours[path], value)
        assert ours[path].shape == value.shape, path


class TestMsgpack:
    def test_round_trip(self):
        file = io.BytesIO()
        write_msgpack(TREE, file)
        file.seek(0)
        same(read_msgpack(file), TREE)

    def test_flax_reads_what_we_write(self):
        file = io.BytesIO()
        write_msgpack(TREE, file)
        same(dict(flatten(flax.serialization.msgpack_restore(file.getvalue()))), TREE)

    def test_same_bytes_as_flax(self):
        file = io.BytesIO()
        write_msgpack(TREE, file)
        assert file.getvalue() == flax.serialization.msgpack_serialize(unflatten(TREE))

    def test_we_read_what_flax_writes(self):
        state = {
            "step": np.int32(3),
            "optimizer": {"target": unflatten({"a/kernel": TREE["params/half"]}), "state": {"step": 3}},
            "model_state": {"batch_stats": {"n": {"mean": np.zeros(2)}}},
            "complex": 1 + 2j,
        }
        read = read_msgpack(io.BytesIO(flax.serialization.msgpack_serialize(state)))
        same(read, {"params/a/kernel": TREE["params/half"], "batch_stats/n/mean": np.zeros(2)})

    def test_chunked_arrays(self, monkeypatch):
        monkeypatch.setattr(flax.serialization, "MAX_CHUNK_SIZE", 16)
        big = np.arange(30, dtype=np.float32).reshape(5, 6)
        data = flax.serialization.msgpack_serialize({"params": {"big": big}})
        assert b"__msgpack_chunked_array__" in data
        same(read_msgpack(io.BytesIO(data)), {"params/big": big})

    def test_optimizer_moments_are_not_decoded(self, monkeypatch):
        from keras_nest.conversion import msgpack_file

        path = loading.FOLDER / "checkpoint_tiny" / "ckpt-39.flax"
        decoded = []
        decode = msgpack_file._decode
        monkeypatch.setattr(msgpack_file, "_decode", lambda *args: decoded.append(args) or decode(*args))
        with path.open("rb") as file:
            tensors = len(read_msgpack(file))
        assert tensors == 73
        assert len(decoded) == tensors + 1  # and the step

    @pytest.mark.parametrize("keep", [0.2, 0.5, 0.9, 0.999])
    def test_truncated(self, keep):
        data = (loading.FOLDER / "checkpoint_tiny" / "ckpt-39.flax").read_bytes()
        with pytest.raises(ValueError, match="truncated"):
            read_msgpack(io.BytesIO(data[: int(len(data) * keep)]))

    @pytest.mark.parametrize("data", [b"hello", b"\x93\x01\x02\x03", b"\x80", b"\x81\xa1a\x01"])
    def test_something_else(self, data):
        with pytest.raises(ValueError, match=r"no Flax msgpack|no model parameters"):
            read_msgpack(io.BytesIO(data))


class TestNpz:
    def test_round_trip_keeps_plain_paths(self):
        tree = {path: value for path, value in TREE.items() if path != "params/half"}
        file = io.BytesIO()
        write_npz(tree, file)
        file.seek(0)
        assert "a/Dense_10/kernel" in np.load(file).files
        file.seek(0)
        same(read_npz(file), tree)

    def test_damaged(self):
        file = io.BytesIO()
        write_npz(TREE, file)
        with pytest.raises(ValueError, match="damaged"):
            read_npz(io.BytesIO(file.getvalue()[:-30]))


class TestOrbax:
    def test_round_trip(self, tmp_path):
        tree = {path: value for path, value in TREE.items() if value.ndim}
        write_orbax(tree, tmp_path / "checkpoint")
        same(read_orbax(str(tmp_path / "checkpoint")), tree)

    def test_without_the_extra(self, tmp_path, monkeypatch):
        monkeypatch.setitem(__import__("sys").modules, "orbax.checkpoint", None)
        with pytest.raises(ModuleNotFoundError, match=r"pip install 'keras-nest\[flax\]'"):
            write_orbax(TREE, pathlib.Path(tmp_path) / "checkpoint")


class TestLayouts:
    @pytest.mark.parametrize(
        "prefix", ["", "params/", "params/params/", "opt/target/", "optimizer/target/", "optimizer/target/params/"]
    )
    def test_prefixes(self, prefix):
        flat = {prefix + path: value for path, value in {"Dense_0/kernel": np.ones(2)}.items()}
        assert set(select_variables(flat)) == {"params/Dense_0/kernel"}

    @pytest.mark.parametrize("prefix", ["model_state/batch_stats/", "batch_stats/"])
    def test_batch_statistics(self, prefix):
        flat = {"params/Dense_0/kernel": np.ones(2), prefix + "BatchNorm_0/mean": np.ones(2)}
        assert set(select_variables(flat)) == {"params/Dense_0/kernel", "batch_stats/BatchNorm_0/mean"}

    def test_nothing_inside(self):
        with pytest.raises(ValueError, match="no model parameters"):
            select_variables({"note": "hello"})

    def test_unflatten_inverts_flatten(self):
        same(dict(flatten(unflatten(TREE))), TREE)
