"""Learning rates against the reference's."""

import keras
import numpy as np
import pytest

from keras_nest.training import FineTuningDecay, WarmupDecay
from tests.golden import loading, train_loading

GOLDEN = loading.facts("learning_rate")
FINE_TUNING = train_loading.facts("vit")["schedules"]
# The reference does not object to a warm-up that goes on past the end.
IN_ORDER = [entry for entry in FINE_TUNING if entry["args"]["warmup_steps"] < entry["args"]["total_steps"]]
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
    # As an optimizer calls it: with the number of finished updates, which is one less.
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


def fine_tuning(args):
    fields = dict(args)
    return FineTuningDecay(fields.pop("base"), **fields)


def fine_tuning_id(entry):
    args = entry["args"]
    return f"{args['decay_type']}-{args['warmup_steps']}-of-{args['total_steps']}-to-{args.get('linear_end', 1e-5)}"


@pytest.mark.parametrize("entry", IN_ORDER, ids=fine_tuning_id)
def test_fine_tuning_reference_values(entry):
    steps, expected = np.array(entry["steps"]), np.array(entry["lr"])
    atol = REFERENCE_ROUNDING * entry["args"]["base"]
    rates = fine_tuning(entry["args"])
    np.testing.assert_allclose(rates(steps), expected, rtol=1e-6, atol=atol)
    # Updates are counted from 1 here, from 0 there.
    np.testing.assert_allclose(rates.at(steps + 1), expected, rtol=1e-6, atol=atol)


@pytest.mark.parametrize("entry", IN_ORDER, ids=fine_tuning_id)
def test_fine_tuning_exact_values(entry):
    """The formula itself in float64; the reference's own rounding plays no part."""
    args, steps = entry["args"], np.array(entry["steps"], float)
    base, end, warmup = args["base"], args.get("linear_end", 1e-5), args["warmup_steps"]
    progress = np.clip((steps - warmup) / (args["total_steps"] - warmup), 0, 1)
    rate = {"cosine": base * (1 + np.cos(np.pi * progress)) / 2, "linear": end + (base - end) * (1 - progress)}
    expected = rate[args["decay_type"]] * (np.minimum(1, steps / warmup) if warmup else 1)
    np.testing.assert_allclose(fine_tuning(args)(steps), expected, rtol=1e-6, atol=1e-18)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"decay_type": "constant"}, "decay_type is 'constant'; it must be 'cosine' or 'linear'"),
        ({"warmup_steps": 8}, "warmup_steps is 8; it must be at least 0 and below total_steps, 8"),
        ({"warmup_steps": -1}, "warmup_steps is -1; it must be at least 0 and below total_steps, 8"),
        ({"total_steps": 0}, "warmup_steps is 0; it must be at least 0 and below total_steps, 0"),
    ],
)
def test_fine_tuning_refuses(fields, message):
    with pytest.raises(ValueError, match=message):
        FineTuningDecay(**{"base_lr": 0.1, "total_steps": 8, **fields})


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        (WarmupDecay(1.0, steps_per_epoch=10, num_epochs=4, warmup_epochs=1), [0.1, 0.2]),
        (FineTuningDecay(1.0, 40, warmup_steps=10), [0.0, 0.1]),
    ],
)
def test_first_updates(schedule, expected):
    """NesT's first update has step 1, ViT's step 0."""
    optimizer, variable = keras.optimizers.SGD(schedule), keras.Variable([0.0])
    optimizer.build([variable])
    values = [0.0]
    for _ in expected:
        optimizer.apply([-keras.ops.ones(1)], [variable])
        values.append(float(variable[0]))
    np.testing.assert_allclose(np.diff(values), expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("schedule", "fields"),
    [
        (
            WarmupDecay(1e-3, 7, 10, "linear", warmup_epochs=1.5, min_learning_rate=1e-5),
            {"learning_rate": 1e-3, "steps_per_epoch": 7, "num_epochs": 10, "schedule": "linear"}
            | {"warmup_epochs": 1.5, "min_learning_rate": 1e-5, "name": "warmup_decay"},
        ),
        (
            FineTuningDecay(0.03, 70, "linear", 7, linear_end=1e-3),
            {"base_lr": 0.03, "total_steps": 70, "decay_type": "linear", "warmup_steps": 7, "linear_end": 1e-3}
            | {"name": "fine_tuning_decay"},
        ),
    ],
)
def test_serializes(schedule, fields):
    assert schedule.get_config() == fields
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(schedule))
    assert type(again) is type(schedule)
    np.testing.assert_array_equal(again.at(np.arange(1, 80)), schedule.at(np.arange(1, 80)))
