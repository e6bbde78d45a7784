"""The encoder layer: its parts, its shapes, its configuration."""

import math

import keras
import numpy as np
import pytest

from keras_nest.layers import EncoderNDBlock, MlpBlock

SHAPE = (2, 4, 9, 32)  # group normalization needs 32 channels


@pytest.fixture
def x():
    return np.random.default_rng(0).standard_normal(SHAPE, np.float32)


def with_random_weights(layer, scale=0.3):
    layer.build(SHAPE)
    rng = np.random.default_rng(1)
    for weight in layer.trainable_weights:
        weight.assign(scale * rng.standard_normal(weight.shape, np.float32))
    return layer


def tanh_gelu(x):
    return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


class TestMlpBlock:
    def test_equals_plain_numpy(self, x):
        layer = with_random_weights(MlpBlock(5))
        w1, b1, w2, b2 = (np.asarray(weight, np.float64) for weight in layer.weights)
        assert w1.shape == (32, 5)
        np.testing.assert_allclose(layer(x), tanh_gelu(x @ w1 + b1) @ w2 + b2, atol=1e-5)

    def test_exact_gelu(self, x):
        layer = with_random_weights(MlpBlock(5, activation="gelu"))
        hidden = x @ np.asarray(layer.weights[0]) + np.asarray(layer.weights[1])
        exact = 0.5 * hidden * (1 + np.vectorize(math.erf)(hidden / math.sqrt(2)))
        w2, b2 = (np.asarray(weight, np.float64) for weight in layer.weights[2:])
        np.testing.assert_allclose(layer(x), exact @ w2 + b2, atol=1e-5)
        assert np.abs(exact @ w2 + b2 - np.asarray(with_random_weights(MlpBlock(5))(x))).max() > 1e-4

    def test_refuses_other_activations(self):
        with pytest.raises(ValueError, match="activation is 'relu'; it must be one of 'gelu_tanh', 'gelu'"):
            MlpBlock(5, activation="relu")

    def test_drops_after_the_activation_and_after_the_output(self, x):
        layer = with_random_weights(MlpBlock(5, dropout=0.5))
        np.testing.assert_array_equal(layer(x), layer(x, training=False))
        y = np.asarray(layer(x, training=True))
        assert (y == 0).mean() == pytest.approx(0.5, abs=0.06)  # five deviations
        kept = y != 0  # beside the doubling, the hidden units that were dropped show
        assert np.abs(y - 2 * np.asarray(layer(x)))[kept].max() > 0.1


@pytest.mark.parametrize("norm_type", ["LN", "BN", "GN"])
@pytest.mark.parametrize("attn_type", ["local_multi_head", "local_multi_query"])
def test_is_two_residual_branches_on_normalized_input(x, attn_type, norm_type):
    layer = with_random_weights(EncoderNDBlock(4, attn_type, norm_type, mlp_ratio=2))
    attention = {"local_multi_head": "MultiHeadAttention_0", "local_multi_query": "MultiQueryAttention_0"}[attn_type]
    norm = {"LN": "LayerNorm", "BN": "BatchNorm", "GN": "GroupNorm"}[norm_type]
    y, parts = layer(x)
    assert list(parts) == [f"{norm}_0", attention, f"{norm}_1", "MlpBlock_0"]
    middle = x + parts[attention]
    np.testing.assert_allclose(parts[f"{norm}_0"], layer.norms[0](x), atol=1e-5)
    np.testing.assert_allclose(parts[attention], layer.attention(parts[f"{norm}_0"]), atol=1e-5)
    np.testing.assert_allclose(parts[f"{norm}_1"], layer.norms[1](middle), atol=1e-5)
    np.testing.assert_allclose(parts["MlpBlock_0"], layer.mlp(parts[f"{norm}_1"]), atol=1e-5)
    np.testing.assert_allclose(y, middle + parts["MlpBlock_0"], atol=1e-5)
    assert layer.mlp.dense[0].units == 64


@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16"])
def test_symbolic_shapes_are_the_real_ones(x, dtype):
    layer = EncoderNDBlock(4, dtype=dtype)
    symbolic = layer(keras.Input(SHAPE[1:], dtype=layer.compute_dtype))
    real = layer(keras.ops.cast(x, layer.compute_dtype))

    def describe(value):
        return tuple(value.shape[1:]), keras.backend.standardize_dtype(value.dtype)

    assert keras.tree.map_structure(describe, symbolic) == keras.tree.map_structure(describe, real)
    assert describe(symbolic[0]) == (SHAPE[1:], layer.compute_dtype)


def test_stochastic_depth_skips_each_branch_for_itself():
    x = np.random.default_rng(0).standard_normal((64, *SHAPE[1:]), np.float32)
    layer = with_random_weights(EncoderNDBlock(4, stochastic_depth=0.5))
    y, parts = layer(x, training=True)
    attended, mlp = (np.asarray(parts[name]) for name in ("MultiHeadAttention_0", "MlpBlock_0"))
    candidates = np.stack([x, x + 2 * attended, x + 2 * mlp, x + 2 * attended + 2 * mlp])
    matches = np.abs(candidates - np.asarray(y)).max((2, 3, 4)) < 1e-4
    np.testing.assert_array_equal(matches.sum(0), 1)
    assert (matches.sum(1) >= 4).all()  # about 16 of 64 samples each


def test_survives_serialization():
    fields = {"attn_type": "local_multi_query", "norm_type": "GN", "mlp_ratio": 2, "qkv_bias": False}
    drops = {"attn_drop": 0.1, "proj_drop": 0.2, "stochastic_depth": 0.3}
    layer = EncoderNDBlock(4, **fields, **drops, name="EncoderNDBlock_3", dtype="mixed_bfloat16")
    config = layer.get_config()
    assert {name: config[name] for name in (*fields, *drops)} == fields | drops
    copy = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
    assert type(copy) is EncoderNDBlock
    assert copy.get_config() == config
