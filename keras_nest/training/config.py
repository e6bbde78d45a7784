"""The fields of a training configuration, under the names of the papers' own.

NesT's configurations count in epochs and give the batch of one device and the learning rate of a batch of 256; those of
ViT, Mixer and AugReg count in steps and give the whole batch and its rate. A field of `VIT` that `NEST` does not have
makes a configuration one of the second kind.
"""

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from ml_collections import ConfigDict

from keras_nest.hints import did_you_mean

Config: TypeAlias = ConfigDict | Mapping[str, Any]
"""Fields of a configuration, complete or not."""

COMMON: dict[str, Any] = {
    "trainer": "train",  # a classifier or, if it is one, a LiT; "inference_time" and "gan" have fields of their own
    "model_name": None,  # as keras_nest.create_model takes it
    "model": {},  # further fields of the model
    "dataset": None,  # as keras_nest.data.load takes it: "digits", a directory, or a data set of TFDS
    "tfds_data_dir": None,
    "augment": {"type": "none"},  # these four, and `pp` of ViT: see keras_nest.data.recipe_of
    "randerasing": {},
    "mix": {},
    "colorjitter": {},
    "pp": {},
    "transfer": "float32",  # "uint8": a quarter of the bytes to the device, which then normalizes, erases and mixes
    "loss": "softmax",  # or "sigmoid", each class for itself; or "focal", where sure answers count less
    "class_weights": None,  # factors of the loss, one for each class, such as (0.5, 2.0)
    "sampling": None,  # "balanced": all classes come up equally often in training; of files
    "patience": None,  # keep the best weights, and stop after so many evaluations without better ones; None: the last
    "init_checkpoint": "",  # weights to start from: whatever create_model(weights=…) reads
    "resize_posembed": None,  # accepted; position embeddings are resized to the image size in any case
    "reinit_head": None,  # "zero_all": start with a head of zeros instead of the checkpoint's
    "freeze": (),  # layers that stay as they are, by patterns of their paths such as "EncoderNDBlock_*"
    "ema_decay": 0.0,  # of the moving average of the weights, which is what is kept
    "vocab": "",  # this and the next four are of LiT: file with the vocabulary of the text tower
    "image_tower": "",  # whatever open_model reads; takes the place of LiT's own, without its head
    "lock_image": True,  # keep the image tower as it is
    "templates": ("{}",),  # captions of data sets with classes; {} stands for the text of a class
    "class_texts": (),  # texts of the classes in their order; () are their names
    "sam_rho": 0.0,  # radius of sharpness-aware minimization
    "gsam_rho_min": None,  # radius at the lowest learning rate
    "gsam_alpha": 0.0,
    "dtype_policy": "float32",  # or "mixed_bfloat16"
    "jit_compile": "auto",  # XLA on one device; "auto" is on a GPU
    "eval_only": False,
    "log_model_profile": False,  # parameters and multiply-adds before training; 2 stops there
    "profile_steps": (),  # first and last step that the profiler of TensorBoard sees
    "minutes": None,  # stop at the first evaluation after so many; None: go on to the last step
    "seed": 0,  # of initial weights, order, augmentation and stochastic depth
    "trial": 0,  # number of a repetition; without effect
}
NEST: dict[str, Any] = {
    "num_epochs": None,
    "num_train_steps": -1,  # -1: as many as the epochs have
    "per_device_batch_size": 64,
    "input_size": None,  # side of the images in pixels
    "accum_steps": 1,  # parts of a device's batch that go through the model one after the other
    "shuffle_buffer_size": 4096,  # for what is too large to be shuffled as a whole
    "optim": "adamw",
    "optim_wd_ignore": ("pos_embedding",),  # parameters without decay, by part of their path
    "weight_decay": 0.05,
    "sgd_momentum": 0.9,
    "optim_dtype": "float32",  # of the accumulator of "momentum"
    "grad_clip_max_norm": 0,
    "learning_rate": 1e-3,  # of a batch of 256; scaled by the batch size
    "min_learning_rate": 0.0,  # likewise
    "learning_rate_schedule": "cosine",
    "warmup_epochs": 0,
    "log_loss_every_steps": 0,  # 0: with each evaluation
    "eval_every_steps": -1,  # -1: every eval_per_epochs
    "eval_per_epochs": 1,
    "checkpoint_every_steps": 0,  # 0: with each evaluation
    "num_eval_steps": -1,  # accepted if -1: all images are evaluated
    "eval_pad_last_batch": True,  # accepted if true
}
VIT: dict[str, Any] = {
    "model_type": None,  # accepted; follows from model_name
    "pretrained_dir": "",  # directory of published checkpoints, or of a training; "" starts from new weights
    "model_or_filename": None,  # of AugReg: a model such as "R_Ti_16", of which the best is taken, or a file name
    "tfds_manual_dir": None,  # accepted; TFDS prepares nothing here
    "total_steps": None,
    "batch": 512,
    "batch_eval": 512,
    "accum_steps": 8,
    "prefetch": 2,  # accepted; tf.data finds out by itself
    "shuffle_buffer": 50_000,
    "optim": "momentum",
    "optim_wd_ignore": (),
    "weight_decay": 0.0,
    "optim_dtype": "bfloat16",
    "grad_norm_clip": 1.0,
    "base_lr": 0.03,
    "decay_type": "cosine",
    "warmup_steps": 500,
    "progress_every": 10,
    "eval_every": 100,
    "checkpoint_every": 1000,  # 0: none
}
_ONLY_VIT = set(VIT) - set(NEST)
_POSITIVE = (
    "num_epochs",
    "per_device_batch_size",
    "batch",
    "batch_eval",
    "total_steps",
    "accum_steps",
    "eval_per_epochs",
)
_PP = ("train", "test", "crop", "resize")  # the last is accepted; the reference does not use it
_CHOICES = {
    "trainer": ("train", "classify", "lit"),
    "loss": ("softmax", "sigmoid", "focal"),
    "sampling": (None, "balanced"),
    "transfer": ("float32", "uint8"),
    "reinit_head": (None, "", "zero_all"),
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
    defaults = {**COMMON, **(VIT if counts_steps(given) else NEST)}
    if counts_steps(given) and (field := next((name for name in given if name in NEST and name not in defaults), None)):
        own = next(name for name in given if name in _ONLY_VIT)
        raise ValueError(
            f"The configuration has an unknown field {field!r}; it belongs to configurations that count in epochs, and "
            f"{own!r} makes this one count in steps."
        )
    resolved = complete(given, defaults)
    resolved["model_name"] = model_name(resolved)
    check_required(resolved, ("model_name", "dataset", "num_epochs", "total_steps"))
    check_values(resolved, _POSITIVE, _CHOICES)
    check_seed(resolved["seed"])
    check_ema_decay(resolved["ema_decay"])
    if resolved["patience"] is not None:
        check_values(resolved, ("patience",))
    if (minutes := resolved["minutes"]) is not None and not minutes > 0:
        raise ValueError(f"minutes is {minutes!r}; it must be a number above 0.")
    _check_groups(resolved["pp"], tuple(resolved["profile_steps"]))
    # The model says whether it is a classifier or a LiT; config.json has this word for both.
    return ConfigDict({**resolved, "trainer": COMMON["trainer"]}).lock()


def counts_steps(config: Config) -> bool:
    """Whether a configuration counts in steps, as those of ViT, Mixer and AugReg do, and not in epochs."""
    return any(field in _ONLY_VIT for field in config)


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
            hint = did_you_mean(field, defaults, "its fields are {}.")
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


def check_values(
    config: Mapping[str, Any], positive: Sequence[str], choices: Mapping[str, tuple[Any, ...]] | None = None
) -> None:
    """Refuses values that a field cannot have.

    Args:
        config: complete.
        positive: fields that are positive whole numbers, where the configuration has them.
        choices: field -> its values; beside these, jit_compile and dtype_policy are checked in every configuration.

    Raises:
        ValueError: names field, value and what would be right.
    """
    for field in positive:
        if field in config and not (type(config[field]) is int and config[field] > 0):
            raise ValueError(f"{field} is {config[field]!r}; it must be a positive whole number.")
    for field, known in {**(choices or {}), "jit_compile": ("auto", True, False)}.items():
        if field in config and config[field] not in known:
            raise ValueError(f"{field} is {config[field]!r}; it must be {' or '.join(map(repr, known))}.")
    if config["dtype_policy"] not in ("float32", "mixed_bfloat16"):
        raise ValueError(
            f"dtype_policy is {config['dtype_policy']!r}; it must be 'float32' or 'mixed_bfloat16', since the loss "
            "scaling that float16 needs is broken under a strategy."
        )


def check_seed(seed: Any) -> None:
    """Refuses what is no seed.

    Raises:
        ValueError: says the value.
    """
    if not (type(seed) is int and 0 <= seed < 2**32):
        raise ValueError(f"seed is {seed!r}; it must be a whole number from 0 to 2**32 - 1.")


def check_ema_decay(ema_decay: Any) -> None:
    """Refuses what is no decay of an average.

    Raises:
        ValueError: says the value.
    """
    if not 0 <= ema_decay < 1:
        raise ValueError(f"ema_decay is {ema_decay!r}; it must be at least 0 and below 1.")


def _check_groups(pp: Mapping[str, Any], profile_steps: tuple[Any, ...]) -> None:
    for field in pp:
        if field not in _PP:
            raise ValueError(f"There is no field pp.{field}; {did_you_mean(field, _PP)}")
    if profile_steps and not (len(profile_steps) == 2 and 0 < profile_steps[0] <= profile_steps[1]):
        raise ValueError(f"profile_steps is {profile_steps}; it must be the first and the last step, such as (10, 20).")
