"""Complete training configurations from what is given, and what is refused; the fields lie in `training_fields`.

A configuration counts in epochs, as NesT's do, or in steps, as those of ViT, Mixer and AugReg. Which of the two follows
from the fields that it has; of what both count by, either takes the other's.
"""

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from ml_collections import ConfigDict

from keras_nest import training_fields
from keras_nest.choices import TRACKERS
from keras_nest.hints import did_you_mean
from keras_nest.training.paper_fields import flat_model_fields
from keras_nest.training_fields import Field, check_kinds, defaults

Config: TypeAlias = ConfigDict | Mapping[str, Any]
"""Fields of a configuration, complete or not."""

COMMON, NEST, VIT = (defaults(fields) for fields in (training_fields.COMMON, training_fields.NEST, training_fields.VIT))
"""Field -> default: of all, and of the two kinds."""

# The fields that are at home in one kind alone. Those by which both count the other takes in the place of its own.
_HOME_OF_NEST = (set(NEST) - set(VIT)) | {"num_epochs", "per_device_batch_size", "learning_rate", "warmup_epochs"}
_HOME_OF_VIT = (set(VIT) - set(NEST)) | {"total_steps", "batch", "base_lr", "warmup_steps"}
# Names that other programs have for fields.
_USUAL = {"lr": "learning_rate", "wd": "weight_decay", "bs": "batch", "batch_size": "batch", "img_size": "input_size"}
_PP = ("train", "test", "crop", "resize")  # the last is accepted; the reference does not use it
DTYPE_POLICIES = ("float32", "mixed_bfloat16", "mixed_float16")
_CHOICES = {
    "trainer": ("train", "classify", "lit"),
    "loss": ("softmax", "sigmoid", "focal", "squared"),
    "sampling": (None, "balanced"),
    "transfer": ("float32", "uint8"),
    "log": (None, "", *TRACKERS),
    "reinit_head": (None, "", "zero_all"),
    "log_model_profile": (False, True, 2),
    "num_eval_steps": (-1,),
    "eval_pad_last_batch": (True,),
}


def resolve(config: Config) -> ConfigDict:
    """The complete configuration of a classifier or a LiT: what is given, and defaults for the rest.

    Args:
        config: fields of `COMMON` and of either `NEST` or `VIT`. Required are model_name, dataset, and num_epochs or
            total_steps.

    Returns:
        A locked copy.

    Raises:
        ValueError: an unknown field, a missing one, or a value that the field cannot have.
    """
    given = as_dict(config)
    in_steps = counts_steps(given)
    fields = {**training_fields.COMMON, **(training_fields.VIT if in_steps else training_fields.NEST)}
    _check_kind(given, in_steps, fields)
    resolved = complete(given, defaults(fields))
    check_kinds(resolved, fields)
    resolved["model"] = flat_model_fields(resolved["model"])
    resolved["model_name"] = model_name(resolved)
    check_required(resolved, ("model_name", "dataset"))
    if resolved["num_epochs"] is None and resolved["total_steps"] is None:
        check_required(resolved, ("total_steps" if in_steps else "num_epochs",))
    check_values(resolved, _CHOICES)
    check_seed(resolved["seed"])
    if resolved["minutes"] == 0:
        raise ValueError(f"minutes is {resolved['minutes']!r}; it must be a number above 0.")
    _check_groups(resolved["pp"], tuple(resolved["profile_steps"]))
    # The model says whether it is a classifier or a LiT; config.json has this word for both.
    return ConfigDict({**resolved, "trainer": COMMON["trainer"]}).lock()


def counts_steps(config: Config) -> bool:
    """Whether a configuration counts in steps, as those of ViT, Mixer and AugReg do, and not in epochs.

    It is of the kind of which it has more fields; in doubt it counts in steps.
    """
    given = {field for field in config if config[field] is not None}
    of_vit = len(given & _HOME_OF_VIT)
    return of_vit > 0 and of_vit >= len(given & _HOME_OF_NEST)


def _check_kind(given: Config, in_steps: bool, fields: Mapping[str, Field]) -> None:
    """Refuses fields of the other kind that have no meaning in this one."""
    kinds = (("epochs", NEST), ("steps", VIT))
    (other, theirs), (own, _) = kinds if in_steps else kinds[::-1]
    if field := next((name for name in given if name in theirs and name not in fields), None):
        raise ValueError(
            f"The configuration has an unknown field {field!r}; it belongs to configurations that count in {other}, "
            f"and most fields of this one are of those that count in {own}."
        )


def model_name(config: Config) -> str | None:
    """Name of the model; where only a checkpoint of AugReg is named, that of its model. None if nothing says it."""
    checkpoint = config.get("model_or_filename")
    return config.get("model_name") or (checkpoint.split("-")[0] if checkpoint else None)


def as_dict(config: Config) -> dict[str, Any]:
    """The fields of a configuration, references replaced by their values."""
    return config.to_dict() if isinstance(config, ConfigDict) else dict(config)


def complete(given: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Given fields, and defaults for the rest.

    Raises:
        ValueError: a field is unknown.
    """
    for field in given:
        if field not in defaults:
            hint = did_you_mean(_USUAL.get(field, field), defaults, "its fields are {}.")
            raise ValueError(f"The configuration has an unknown field {field!r}; {hint}")
    completed = {**defaults, **given}
    for field, default in defaults.items():
        # The papers' own configurations say None where a group has no fields.
        if default == {} and completed[field] is None:
            completed[field] = {}
    return completed


def check_required(config: Mapping[str, Any], fields: Sequence[str]) -> None:
    """Refuses a configuration that leaves one of some fields open, where it has that field at all.

    Raises:
        ValueError: names the field.
    """
    for field in fields:
        if field in config and config[field] in (None, ""):
            raise ValueError(f"The configuration does not say {field}; it must.")


def check_values(config: Mapping[str, Any], choices: Mapping[str, tuple[Any, ...]] | None = None) -> None:
    """Refuses values that are none of those that a field can have.

    Args:
        config: complete.
        choices: field -> its values; beside these, jit_compile and dtype_policy are checked in every configuration.

    Raises:
        ValueError: names field, value and what would be right.
    """
    for field, known in {
        "dtype_policy": DTYPE_POLICIES,
        "jit_compile": ("auto", True, False),
        **(choices or {}),
    }.items():
        if field in config and config[field] not in known:
            raise ValueError(f"{field} is {config[field]!r}; it must be {' or '.join(map(repr, known))}.")


def check_seed(seed: Any) -> None:
    """Refuses what is no seed.

    Raises:
        ValueError: says the value.
    """
    if not (type(seed) is int and 0 <= seed < 2**32):
        raise ValueError(f"seed is {seed!r}; it must be a whole number from 0 to 2**32 - 1.")


def _check_groups(pp: Mapping[str, Any], profile_steps: tuple[Any, ...]) -> None:
    for field in pp:
        if field not in _PP:
            raise ValueError(f"There is no field pp.{field}; {did_you_mean(field, _PP)}")
    if profile_steps and not (len(profile_steps) == 2 and 0 < profile_steps[0] <= profile_steps[1]):
        raise ValueError(f"profile_steps is {profile_steps}; it must be the first and the last step, such as (10, 20).")
