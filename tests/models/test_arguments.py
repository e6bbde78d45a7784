"""Numbers that models are made of: NumPy's, and what is none."""

import numpy as np
import pytest

import keras_nest
from keras_nest.models.arguments import plain
from keras_nest.types import as_size
from tests import families

INTEGERS = {"image_size", "patch_size", "in_channels", "hidden_size", "num_layers", "num_heads", "mlp_dim"}
VIT = {**dict.fromkeys(INTEGERS, 2), "image_size": 8, "in_channels": 3, "num_layers": 1, "num_classes": 3}


def test_a_model_of_numpys_numbers_is_saved_as_one_of_pythons(tmp_path):
    given = {field: np.int64(value) for field, value in VIT.items()}
    given |= {"image_size": np.array([8, 8]), "dropout_rate": np.float32(0.5), "feature_blocks": np.array([1])}
    model = keras_nest.create_model("ViT-Ti_16", **given)
    model.save(tmp_path / "numpy.keras")
    again = keras_nest.open_model(tmp_path / "numpy.keras").model
    plain_ones = {**VIT, "image_size": (8, 8), "dropout_rate": 0.5, "feature_blocks": (1,)}
    for config in (model.config, again.config):
        assert {field: config[field] for field in plain_ones} == plain_ones
        assert all(type(config[field]) is int for field in VIT.keys() - {"image_size"})


@pytest.mark.parametrize("field", ["hidden_size", "num_layers", "num_classes", "mlp_dim"])
@pytest.mark.parametrize("value", [True, 2.0, np.float32(2), "2", [2]])
def test_what_is_no_whole_number_is_refused(field, value):
    with pytest.raises(ValueError, match=rf"^{field} is .*; it must be a whole number\.$"):
        keras_nest.create_model("ViT-Ti_16", **{**VIT, field: value})


@pytest.mark.parametrize(
    ("create", "fields", "message"),
    [
        (families.nest, {"num_layers_per_block": (1, 2.0)}, r"\(1, 2.0\); it must hold whole numbers"),
        (families.nest, {"num_layers_per_block": 2}, "is 2; it must be a list of whole numbers"),
        (families.nest, {"mlp_ratio": "2"}, "mlp_ratio is '2'; it must be a number"),
        (families.vit, {"dropout_rate": True}, "dropout_rate is True; it must be a number"),
        (families.vit, {"in_channels": "3"}, "in_channels is '3'; it must be a whole number"),
        (keras_nest.ViTFlaxNesT, {"block_repeats": 1.5}, "is 1.5; it must be a whole number, or some"),
        (keras_nest.Bert, {"vocab_size": 1e4}, "vocab_size is 10000.0; it must be a whole number"),
        (keras_nest.NesTGenerator, {"num_heads": 2}, "num_heads is 2; it must be a list of whole numbers"),
    ],
)
def test_of_other_families(create, fields, message):
    with pytest.raises(ValueError, match=message):
        create(**fields)


def test_wrong_arguments_are_told_as_python_tells_them():
    with pytest.raises(TypeError, match=r"VisionTransformer.__init__\(\) got an unexpected keyword argument 'size'"):
        keras_nest.VisionTransformer(size=1)


@pytest.mark.parametrize("size", [np.int64(8), np.array(8), np.array([8, 8]), [8, 8], (np.int32(8), 8)], ids=repr)
def test_sizes(size):
    assert as_size(size) == (8, 8)
    assert [type(side) for side in as_size(size)] == [int, int]


@pytest.mark.parametrize("size", [True, (True, 8), 8.0, np.float64(8), "8", 0, np.int64(-8), [8], np.zeros((2, 2))])
def test_what_is_no_size(size):
    with pytest.raises(ValueError, match="it must be a positive whole number or"):
        as_size(size)


def test_plain_values():
    assert plain([np.int64(1), (np.float32(0.5), "a", None)]) == [1, (0.5, "a", None)]
    spec = {"mean": np.array([1.0])}
    assert plain(spec) is spec
