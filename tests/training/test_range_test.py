"""A range test ends when the loss diverges, and suggests a rate at which it fell."""

import csv
import math

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from keras_nest.training import Trainer, WarmupDecay
from keras_nest.training.range_test import RangeTest, run_range_test, write_range_test

RATES = WarmupDecay(10.0, 1, 80, "range_test", min_learning_rate=1e-4)


def rate_at(step):
    return float(RATES.at(step))


def test_rates_rise_by_equal_factors():
    rates = [rate_at(step) for step in range(1, 81)]
    assert rates[-1] == pytest.approx(10.0)
    np.testing.assert_allclose(np.divide(rates[1:], rates[:-1]), 1e5 ** (1 / 80), rtol=1e-4)
    with pytest.raises(ValueError, match="A range test rises from min_learning_rate by equal factors"):
        WarmupDecay(10.0, 1, 80, "range_test")


@pytest.fixture(scope="module")
def found():
    """Of a linear regression with gradient descent, which diverges from 2 / (2 * variance) = 1 on."""
    keras.utils.set_random_seed(0)
    draw = np.random.default_rng(0).standard_normal
    features = draw((4096, 4)).astype("float32")
    targets = features @ np.array([[1.0], [-2.0], [3.0], [0.5]], "float32") + draw((4096, 1)).astype("float32")
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
    trainer = Trainer(model)
    trainer.compile(keras.optimizers.SGD(RATES), "mse")
    batches = tf.data.Dataset.from_tensor_slices((features, targets)).repeat().batch(64, drop_remainder=True)
    return run_range_test(trainer, batches, rate_at, 80)


def test_it_ends_when_the_loss_diverges(found):
    assert len(found.rates) == len(found.losses) < 80
    assert 0.5 < found.rates[-1] < 4.0
    assert all(map(math.isfinite, found.losses))


def test_the_suggestion_is_a_rate_that_trains(found):
    assert 0.3 < found.highest < 1.0
    assert 0.1 <= found.suggestion <= 0.4


def test_the_suggestion_has_one_digit():
    for highest, suggestion in ((6.3e-3, 2e-3), (9.7e-4, 3e-4), (2.9e-3, 1e-3)):
        rates = (*np.geomspace(1e-6, highest, 20), *np.geomspace(2 * highest, 1, 20))
        assert RangeTest(rates, (*[1.0] * 24, *[90.0] * 16)).suggestion == suggestion


def test_files(found, tmp_path):
    write_range_test(found, tmp_path / "rates.csv", tmp_path / "rates.png")
    with (tmp_path / "rates.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["learning_rate"]) for row in rows] == list(found.rates)
    np.testing.assert_allclose([float(row["smoothed_loss"]) for row in rows], found.smoothed)
    with Image.open(tmp_path / "rates.png") as picture:
        green = np.asarray(picture.convert("RGB")) == (44, 160, 44)
    assert green.all(axis=-1).sum() > 100


def test_a_loss_that_is_no_number_is_told():
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    trainer = Trainer(model)
    trainer.compile(keras.optimizers.SGD(RATES), "mse")
    batches = tf.data.Dataset.from_tensors((np.full((2, 2), np.nan, "float32"), np.zeros((2, 1), "float32"))).repeat()
    with pytest.raises(ValueError, match="at the lowest learning rate"):
        run_range_test(trainer, batches, rate_at, 80)
