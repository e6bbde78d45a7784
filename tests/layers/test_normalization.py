"""The normalizations of the published models."""

import keras
import numpy as np
import pytest

from keras_nest.layers import ChannelNorm
from keras_nest.layers.normalization import norm


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.mark.parametrize(
    ("norm_type", "index", "name", "epsilon"),
    [("LN", 0, "LayerNorm_0", 1e-6), ("BN", 1, "BatchNorm_1", 1e-5), ("GN", 0, "GroupNorm_0", 1e-6)],
)
def test_names_and_epsilons(norm_type, index, name, epsilon, rng):
    layer = norm(norm_type, index)
    assert layer.name == name
    # At the scale of epsilon it shows in the values, not only in the configuration.
    x = 1e-3 * rng.standard_normal((2, 3, 4, 32), np.float32)
    layer.build(x.shape)
    centered = x if norm_type == "BN" else x - x.mean(-1, keepdims=True)
    variance = {"LN": x.var(-1, keepdims=True), "BN": np.ones(1), "GN": x.var((1, 2), keepdims=True)}[norm_type]
    if norm_type == "GN":  # 32 groups of one channel: statistics over blocks and tokens together
        centered = x - x.mean((1, 2), keepdims=True)
    np.testing.assert_allclose(layer(x), centered / np.sqrt(variance + epsilon), rtol=1e-4, atol=1e-6)


def test_batch_norm_forgets_a_tenth_a_step():
    layer = norm("BN")
    layer(np.full((4, 2, 2, 3), 5.0, np.float32), training=True)
    np.testing.assert_allclose(layer.moving_mean, 0.5, rtol=1e-6)


def test_further_arguments_reach_the_layer():
    assert norm("LN", dtype="mixed_bfloat16").dtype_policy.name == "mixed_bfloat16"


def test_unknown_type():
    with pytest.raises(ValueError, match=r"norm_type is 'RMS'; it must be one of 'LN', 'BN', 'GN'"):
        norm("RMS")


class TestChannelNorm:
    def test_equals_layer_normalization(self, rng):
        x = 0.01 * rng.standard_normal((2, 3, 4, 8), np.float32) + 1
        layer, stock = ChannelNorm(epsilon=1e-4), keras.layers.LayerNormalization(epsilon=1e-4)
        layer.build(x.shape)
        stock.build(x.shape)
        scale, shift = rng.standard_normal((2, 8), np.float32)
        layer.set_weights([scale.reshape(1, 1, 1, 8), shift.reshape(1, 1, 1, 8)])
        stock.set_weights([scale, shift])
        np.testing.assert_allclose(layer(x), stock(x), atol=1e-6)

    def test_default_epsilon_is_that_of_vit_flax(self):
        x = np.array([[[[-1e-3, 1e-3]]]], np.float32)
        np.testing.assert_allclose(ChannelNorm()(x), x / np.sqrt(1e-6 + 1e-5), rtol=1e-5)

    def test_variables_are_those_of_the_checkpoint(self):
        layer = ChannelNorm(name="LayerNorm_0")
        layer.build((None, 4, 4, 8))
        assert {v.path: tuple(v.shape) for v in layer.variables} == {
            "LayerNorm_0/g": (1, 1, 1, 8),
            "LayerNorm_0/b": (1, 1, 1, 8),
        }
        assert layer.compute_output_shape((None, 4, 4, 8)) == (None, 4, 4, 8)

    def test_mixed_precision_keeps_scale_and_shift(self):
        """bfloat16 knows no number between 1 and 1 + 2^-7, and would round these two."""
        layer = ChannelNorm(dtype="mixed_bfloat16")
        layer.build((None, 1, 1, 2))
        layer.set_weights([np.full((1, 1, 1, 2), 1 + 2**-9), np.full((1, 1, 1, 2), -1 - 2**-10)])
        y = layer(np.array([[[[-100.0, 100.0]]]], np.float32))
        assert keras.backend.standardize_dtype(y.dtype) == "bfloat16"
        np.testing.assert_allclose(keras.ops.cast(y, "float32")[0, 0, 0, 1], 2**-10, rtol=0.01)
