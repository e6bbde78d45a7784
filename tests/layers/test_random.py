"""Dropout, and seeds that differ between replicas."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_nest.layers import Dropout, ReplicaSeedGenerator, StochasticDepth
from keras_nest.training import create_strategy


@pytest.fixture(scope="module")
def masks_by_layer():
    """Layer, ours or of stock Keras -> boolean array (steps, replicas, 64)."""
    strategy = create_strategy("mirrored")
    with strategy.scope():
        layers = {"dropout": Dropout(0.5, seed=1), "stochastic_depth": StochasticDepth(0.5, seed=1)}
        layers["stock"] = keras.layers.Dropout(0.5, seed=1)

    @tf.function
    def masks(layer):
        return strategy.run(lambda: layer(tf.ones((64, 1)), training=True)[:, 0] > 0)

    def replicas(layer):
        return [mask.numpy() for mask in strategy.experimental_local_results(masks(layer))]

    return {name: np.array([replicas(layer) for _ in range(2)]) for name, layer in layers.items()}


@pytest.mark.parametrize("layer", ["dropout", "stochastic_depth"])
def test_replicas_and_steps_draw_different_masks(masks_by_layer, layer):
    masks = masks_by_layer[layer].reshape(4, 64)
    agreement = (masks[:, None] == masks[None]).mean(-1)[np.triu_indices(4, 1)]
    # Independent masks agree in half of the 64 places, give or take four deviations of 1/16.
    assert agreement.min() > 0.25
    assert agreement.max() < 0.75


def test_stock_dropout_repeats_its_mask_on_every_replica(masks_by_layer):
    """The reason for a generator of our own; when this fails, Keras has mended it."""
    stock = masks_by_layer["stock"]
    np.testing.assert_array_equal(stock[:, 0], stock[:, 1])


def test_one_replica_draws_what_the_stock_generator_draws():
    ours, stock = ReplicaSeedGenerator(seed=7), keras.random.SeedGenerator(seed=7)
    for _ in range(3):
        np.testing.assert_array_equal(ours.next(), stock.next())
    x = keras.ops.ones((50,))
    np.testing.assert_array_equal(keras.random.dropout(x, 0.5, seed=ours), keras.random.dropout(x, 0.5, seed=stock))


class TestDropout:
    def test_drops_the_given_fraction_and_scales_the_rest(self):
        y = np.asarray(Dropout(0.3, seed=0)(np.ones((200, 200), np.float32), training=True))
        assert (y == 0).mean() == pytest.approx(0.3, abs=0.012)  # five deviations
        np.testing.assert_allclose(y[y != 0], 1 / 0.7, rtol=1e-6)

    @pytest.mark.parametrize("training", [False, None])
    def test_passes_everything_outside_training(self, training):
        x = np.random.default_rng(0).random((4, 5), np.float32)
        np.testing.assert_array_equal(Dropout(0.5)(x, training=training), x)

    def test_rate_zero_has_no_state(self):
        layer = Dropout(0.0)
        x = np.ones((4, 5), np.float32)
        np.testing.assert_array_equal(layer(x, training=True), x)
        assert layer.variables == []

    def test_seed_fixes_the_sequence_of_masks(self):
        x = np.ones((100,), np.float32)
        first, again = Dropout(0.5, seed=3), Dropout(0.5, seed=3)
        masks = [np.asarray(first(x, training=True)) for _ in range(3)]
        np.testing.assert_array_equal(masks, [again(x, training=True) for _ in range(3)])
        assert (masks[0] != masks[1]).any()
        assert (masks[0] != np.asarray(Dropout(0.5, seed=4)(x, training=True))).any()

    @pytest.mark.parametrize("rate", [-0.1, 1.0, 2])
    def test_refuses_other_rates(self, rate):
        with pytest.raises(ValueError, match=rf"dropout rate is {rate}; .*\[0, 1\)"):
            Dropout(rate)
