"""The fields of a training configuration, under the names of the papers' own."""

from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from keras_nest.hints import did_you_mean

_REQUIRED = ("model_name", "dataset", "num_epochs")
DEFAULTS: dict[str, Any] = {
    "model_name": None,  # as keras_nest.create_model takes it
    "model": {},  # further fields of the model
    "dataset": None,  # as keras_nest.data.load takes it: "digits", a directory, or a data set of TFDS
    "tfds_data_dir": None,
    "shuffle_buffer_size": 4096,  # for what is too large to be shuffled as a whole
    "augment": {"type": "none"},  # these four, and `pp` of ViT: see keras_nest.data.configuration
    "randerasing": {},
    "mix": {},
    "colorjitter": {},
    "pp": {},
    "num_epochs": None,
    "per_device_batch_size": 64,
    "optim": "adamw",
    "weight_decay": 0.05,
    "optim_wd_ignore": ("pos_embedding",),  # parameters without decay, by part of their path
    "learning_rate": 1e-3,  # of a batch of 256; scaled by the batch size
    "min_learning_rate": 0.0,  # likewise
    "learning_rate_schedule": "cosine",
    "warmup_epochs": 0,
    "seed": 0,  # of initial weights, order, augmentation and stochastic depth
}


def resolve(config: ConfigDict | Mapping[str, Any]) -> ConfigDict:
    """The complete configuration: what is given, and defaults for the rest.

    Args:
        config: fields of `DEFAULTS`; required are model_name, dataset and num_epochs.

    Returns:
        A locked copy.

    Raises:
        ValueError: an unknown field, a missing one, or a number that must be positive and is not.
    """
    given = config.to_dict() if isinstance(config, ConfigDict) else dict(config)
    for field in given:
        if field not in DEFAULTS:
            hint = did_you_mean(field, DEFAULTS, "its fields are {}.")
            raise ValueError(f"The configuration has an unknown field {field!r}; {hint}")
    resolved = {**DEFAULTS, **given}
    for field in _REQUIRED:
        if resolved[field] is None:
            raise ValueError(f"The configuration does not say {field}; it must.")
    for field in ("num_epochs", "per_device_batch_size"):
        if not (isinstance(resolved[field], int) and resolved[field] > 0):
            raise ValueError(f"{field} is {resolved[field]!r}; it must be a positive whole number.")
    return ConfigDict(resolved).lock()
