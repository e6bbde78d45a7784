"""Flax -> Keras -> Flax, bit for bit."""

import flax.serialization
import jax
import numpy as np
import pytest

from keras_nest import conversion
from keras_nest.conversion import flax_reference
from tests import keras_models
from tests.conversion.test_flax_reference import QUICK_COMPILATION
from tests.golden import loading


@pytest.mark.parametrize("name", ["small_mh_bn", "small_mq_nobias_mlp2", "vit_flax_other"])
def test_round_trip(name, tmp_path):
    case = loading.case(name)
    tree, model = keras_models.tree(case), keras_models.load(case)
    for suffix in (".npz", ".msgpack", ".flax", ""):
        path = tmp_path / f"out{suffix}"
        assert conversion.write_checkpoint(model, path) == len(tree)
        back = conversion.read_checkpoint(path)
        assert set(back) == set(tree)
        for tensor, value in tree.items():
            assert back[tensor].dtype == value.dtype
            assert back[tensor].shape == value.shape, tensor
            assert back[tensor].tobytes() == value.tobytes(), (suffix, tensor)


def test_flax_runs_what_we_write(tmp_path):
    case = loading.case("small_mh_bn")
    conversion.write_checkpoint(keras_models.load(case), tmp_path / "out.msgpack")
    variables = flax.serialization.msgpack_restore((tmp_path / "out.msgpack").read_bytes())
    apply = flax_reference.for_config(case.architecture, case.config).apply
    logits = jax.jit(apply, compiler_options=QUICK_COMPILATION)(variables, case.images)
    assert keras_models.gap(np.asarray(logits), case.expected["logits"]) <= keras_models.SMALL_LOGITS


def test_bad_output(tmp_path):
    model = keras_models.build(loading.case("small_mq"))
    with pytest.raises(ValueError, match=r"must end in \.npz"):
        conversion.write_checkpoint(model, tmp_path / "out.pt")
    (tmp_path / "out.npz").write_text("precious")
    with pytest.raises(FileExistsError, match="exists already"):
        conversion.write_checkpoint(model, tmp_path / "out.npz")
    assert (tmp_path / "out.npz").read_text() == "precious"
    conversion.write_checkpoint(model, tmp_path / "out.npz", overwrite=True)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out.npz"]
