"""Stochastic depth: whole samples are kept, scaled, or dropped."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_nest.layers import StochasticDepth


def test_keeps_the_given_fraction():
    y = np.asarray(StochasticDepth(0.25, seed=0)(np.ones((10_000, 1), np.float32), training=True))
    assert (y != 0).mean() == pytest.approx(0.75, abs=0.022)  # five deviations


@pytest.mark.parametrize("shape", [(64, 5), (64, 4, 3, 2)])
def test_whole_samples_are_scaled_or_dropped(shape):
    x = np.random.default_rng(0).random(shape, np.float32) + 1
    y = np.asarray(StochasticDepth(0.4, seed=0)(x, training=True))
    kept = y.reshape(64, -1).any(axis=1)
    assert 0 < kept.sum() < 64
    np.testing.assert_allclose(y[kept], x[kept] / 0.6, rtol=1e-6)
    np.testing.assert_array_equal(y[~kept], 0)


def test_works_in_a_graph_with_unknown_batch():
    layer = StochasticDepth(0.5, seed=0)
    graph = tf.function(lambda x: layer(x, training=True), input_signature=[tf.TensorSpec((None, 2, 3))])
    y = graph(tf.ones((100, 2, 3))).numpy()
    assert set(np.unique(y)) == {0, 2}
    assert (y == y[:, :1, :1]).all()


@pytest.mark.parametrize("training", [False, None])
def test_passes_everything_outside_training(training):
    x = np.random.default_rng(0).random((8, 3), np.float32)
    np.testing.assert_array_equal(StochasticDepth(0.9)(x, training=training), x)


def test_rate_zero_has_no_state():
    layer, x = StochasticDepth(0.0), np.ones((8, 3), np.float32)
    np.testing.assert_array_equal(layer(x, training=True), x)
    assert layer.variables == []


def test_seed_fixes_the_masks_and_calls_differ():
    x = np.ones((64, 1), np.float32)
    layer, again = StochasticDepth(0.5, seed=3), StochasticDepth(0.5, seed=3)
    masks = [np.asarray(layer(x, training=True)) for _ in range(2)]
    np.testing.assert_array_equal(masks, [again(x, training=True) for _ in range(2)])
    assert (masks[0] != masks[1]).any()


def test_keeps_bfloat16():
    y = StochasticDepth(0.5, dtype="bfloat16")(np.ones((8, 3), np.float32), training=True)
    assert keras.backend.standardize_dtype(y.dtype) == "bfloat16"


@pytest.mark.parametrize("rate", [-0.1, 1.0, 2])
def test_refuses_other_rates(rate):
    with pytest.raises(ValueError, match=rf"stochastic depth rate is {rate}; .*\[0, 1\)"):
        StochasticDepth(rate)
