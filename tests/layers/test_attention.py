"""Attention inside blocks, against the formulas in plain NumPy."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_nest.layers import MultiHeadAttention, MultiQueryAttention
from keras_nest.layers.attention import attention_probabilities

BATCH, BLOCKS, TOKENS, CHANNELS, HEADS = 2, 3, 4, 12, 3
HEAD_DIM = CHANNELS // HEADS
BOTH = pytest.mark.parametrize("attention", [MultiHeadAttention, MultiQueryAttention])


@pytest.fixture
def x():
    return np.random.default_rng(0).standard_normal((BATCH, BLOCKS, TOKENS, CHANNELS), np.float32)


def with_random_weights(attention, **fields):
    """A layer whose biases are not zero and whose scores are far from uniform."""
    layer = attention(HEADS, name="attention", **fields)
    layer.build((None, BLOCKS, TOKENS, CHANNELS))
    rng = np.random.default_rng(1)
    for weight in layer.weights:
        if weight.dtype == "float32":
            weight.assign(0.5 * rng.standard_normal(weight.shape, np.float32))
    return layer


def weights_of(layer):
    return {weight.path.removeprefix("attention/"): np.asarray(weight, np.float64) for weight in layer.weights}


def softmax(scores):
    exponents = np.exp(scores - scores.max(-1, keepdims=True))
    return exponents / exponents.sum(-1, keepdims=True)


def plain(layer, x):
    """Output and probabilities by the formulas; biases that are absent count as zero."""
    w = weights_of(layer)
    query = np.einsum("btnc,chd->bthnd", x, w["DenseGeneral_0/kernel"])
    query = query + w.get("DenseGeneral_0/bias", np.zeros((HEADS, HEAD_DIM)))[:, None]
    if isinstance(layer, MultiHeadAttention):
        both = np.einsum("btnc,che->bthne", x, w["DenseGeneral_1/kernel"])
        both = both + w.get("DenseGeneral_1/bias", np.zeros((HEADS, 2 * HEAD_DIM)))[:, None]
    else:
        both = x @ w["Dense_0/kernel"] + w.get("Dense_0/bias", 0)
        both = np.repeat(both[:, :, None], HEADS, axis=2)
    key, value = both[..., :HEAD_DIM], both[..., HEAD_DIM:]
    probabilities = softmax(np.einsum("bthnd,bthmd->bthnm", query, key) / np.sqrt(HEAD_DIM))
    values = np.einsum("bthnm,bthmd->bthnd", probabilities, value)
    return np.einsum("bthnd,hdc->btnc", values, w["proj_kernel"]) + w["bias"], probabilities


@BOTH
@pytest.mark.parametrize("qkv_bias", [True, False])
def test_equals_plain_numpy(attention, qkv_bias, x):
    layer = with_random_weights(attention, qkv_bias=qkv_bias)
    assert ("DenseGeneral_0/bias" in weights_of(layer)) == qkv_bias
    expected, probabilities = plain(layer, x)
    assert probabilities.max() > 0.9  # uneven enough to matter
    y, scores = layer(x, return_attention_scores=True)
    np.testing.assert_allclose(y, expected, atol=2e-5)
    np.testing.assert_allclose(scores, probabilities, atol=1e-5)
    np.testing.assert_array_equal(layer(x), y)


@BOTH
def test_scores_are_probabilities_even_with_dropout(attention, x):
    layer = with_random_weights(attention, attn_drop=0.5)
    y, scores = layer(x, training=True, return_attention_scores=True)
    assert tuple(scores.shape) == (BATCH, BLOCKS, HEADS, TOKENS, TOKENS)
    np.testing.assert_allclose(np.sum(scores, -1), 1, atol=1e-6)
    assert np.abs(y - layer(x)).max() > 0.1


@BOTH
def test_blocks_do_not_see_each_other(attention, x):
    layer = with_random_weights(attention)
    changed = x.copy()
    changed[0, 1, 2] += 3
    differs = np.abs(np.asarray(layer(changed)) - np.asarray(layer(x))).max(-1) > 1e-3
    expected = np.zeros((BATCH, BLOCKS, TOKENS), bool)
    expected[0, 1] = True  # all tokens of that block, and no others
    np.testing.assert_array_equal(differs, expected)


def test_bfloat16_rows_are_rounded_once():
    """Only the result is rounded, by at most 2^-8 of it; XLA would compute a softmax in bfloat16 six times worse."""
    scores = np.asarray(keras.ops.cast(np.random.default_rng(0).uniform(-4, 4, (64, 200)), "bfloat16"), np.float64)
    query = keras.ops.ones((64, 1, 1), "bfloat16")
    compiled = tf.function(attention_probabilities, jit_compile=True)
    rows = compiled(query, keras.ops.cast(scores[..., None], "bfloat16"))
    assert keras.backend.standardize_dtype(rows.dtype) == "bfloat16"
    exact = softmax(scores)[:, None]
    error = np.abs(np.asarray(keras.ops.cast(rows, "float64")) / exact - 1).max()
    assert error <= 2**-8


@BOTH
def test_mixed_precision(attention, x):
    layer = with_random_weights(attention, dtype="mixed_bfloat16")
    y, scores = layer(x, return_attention_scores=True)
    assert {keras.backend.standardize_dtype(z.dtype) for z in (y, scores)} == {"bfloat16"}
    expected, _ = plain(layer, x)
    np.testing.assert_allclose(keras.ops.cast(y, "float32"), expected, atol=0.05 * np.abs(expected).max())
