"""Learning rates against the reference's."""

import keras
import numpy as np
import pytest

from keras_nest.training import WarmupDecay
from tests.golden import loading

GOLDEN = loading.facts("learning_rate")
# Near its end the reference's float32 cosine is itself off by about 1e-8 of the base rate.
REFERENCE_ROUNDING = 3e-8


def schedule(config):
    fields = dict(config)
    return WarmupDecay(fields.pop("base_learning_rate"), **fields)


def ids(entry):
    config = entry["config"]
    return f"{config['schedule']}-warmup{config['warmup_epochs']}-min{config.get('min_learning_rate', 0)}"


@pytest.mark.parametrize("entry", GOLDEN["schedules"], ids=ids)
def test_reference_values(entry):
    expected = np.array(entry["lr_float32"], float)
    atol = REFERENCE_ROUNDING * entry["config"]["base_learning_rate"]
    rates = schedule(entry["config"])
    np.testing.assert_allclose(rates.at(np.array(entry["steps"])), expected, rtol=1e-6, atol=atol)
    # As an optimiser calls it: with the number of finished updates, which is one less.
    np.testing.assert_allclose(rates(np.array(entry["steps"]) - 1), expected, rtol=1e-6, atol=atol)


@pytest.mark.parametrize("entry", GOLDEN["schedules"], ids=ids)
def test_exact_values(entry):
    """The formula itself in float64; the reference's own rounding plays no part."""
    config, steps = entry["config"], np.array(entry["steps"][1:], float)
    epoch, warmup = steps / config["steps_per_epoch"], config["warmup_epochs"]
    progress = np.maximum(0, (epoch - warmup) / (config["num_epochs"] - warmup))
    decay = {"cosine": 0.5 * (1 + np.cos(np.pi * progress)), "linear": 1 - progress, "constant": 1}
    rate = config["base_learning_rate"] * decay[config["schedule"]]
    rate = rate * (np.minimum(1, epoch / warmup) if warmup else 1)
    rate = np.where(epoch >= warmup, np.maximum(rate, config.get("min_learning_rate", 0)), rate)
    np.testing.assert_allclose(schedule(config).at(steps), rate, rtol=1e-6, atol=1e-18)


@pytest.mark.parametrize("entry", GOLDEN["errors"], ids=ids)
def test_what_the_reference_refuses(entry):
    with pytest.raises(ValueError, match=r"warmup_epochs is 300|steps_per_epoch is 0|schedule is 'exponential'"):
        schedule(entry["config"])


def test_first_update_has_step_one():
    optimizer = keras.optimizers.SGD(WarmupDecay(1.0, steps_per_epoch=10, num_epochs=4, warmup_epochs=1))
    variable = keras.Variable([0.0])
    optimizer.build([variable])
    optimizer.apply([keras.ops.ones(1)], [variable])
    np.testing.assert_allclose(variable, [-0.1], rtol=1e-6)


def test_serialises():
    rates = WarmupDecay(1e-3, 7, 10, "linear", warmup_epochs=1.5, min_learning_rate=1e-5)
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(rates))
    np.testing.assert_array_equal(again.at(np.arange(1, 80)), rates.at(np.arange(1, 80)))
