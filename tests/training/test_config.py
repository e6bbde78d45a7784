"""Complete configurations from incomplete ones, and what is refused."""

import importlib

import pytest
from ml_collections import ConfigDict

from keras_nest.training.config import DEFAULTS, resolve

MINIMAL = {"model_name": "nest_tiny_s16_32", "dataset": "digits", "num_epochs": 3}


def test_defaults_fill_what_is_not_given():
    config = resolve({**MINIMAL, "seed": 5})
    assert set(config) == set(DEFAULTS)
    assert (config.seed, config.num_epochs, config.optim) == (5, 3, "adamw")
    assert config.augment.type == "none"


def test_neither_the_argument_nor_the_defaults_change():
    given = ConfigDict({**MINIMAL, "model": {"mlp_ratio": 2}})
    resolve(given).model.mlp_ratio = 3
    assert given.model.mlp_ratio == 2
    resolve(MINIMAL).augment.type = "shift"
    assert DEFAULTS["augment"] == {"type": "none"}


def test_the_configuration_of_the_demonstration_is_complete():
    resolve(importlib.import_module("configs.digits_nest").get_config())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sed": 3}, "unknown field 'sed'; did you mean seed"),
        ({"wurst": 3}, "unknown field 'wurst'; its fields are model_name, "),
        ({"dataset": None}, "does not say dataset"),
        ({"num_epochs": 0}, "num_epochs is 0; it must be a positive whole number"),
        ({"num_epochs": 2.5}, "num_epochs is 2.5; it must be a positive whole number"),
        ({"per_device_batch_size": -4}, "per_device_batch_size is -4"),
    ],
)
def test_refused(change, message):
    with pytest.raises(ValueError, match=message):
        resolve({**MINIMAL, **change})
