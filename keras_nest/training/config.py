"""The fields of a training configuration, under the names of the papers' own.

NesT's configurations count in epochs and give the batch of one device and the learning rate of a batch of 256; those of
ViT, Mixer and AugReg count in steps and give the whole batch and its rate. A field of `VIT` that `NEST` does not have
makes a configuration one of the second kind.
"""

from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from keras_nest.hints import did_you_mean

COMMON: dict[str, Any] = {
    "trainer": "train",  # or "inference_time" or "gan", which have the fields of INFERENCE_TIME and GAN
    "model_name": None,  # as keras_nest.create_model takes it
    "model": {},  # further fields of the model
    "dataset": None,  # as keras_nest.data.load takes it: "digits", a directory, or a data set of TFDS
    "tfds_data_dir": None,
    "augment": {"type": "none"},  # these four, and `pp` of ViT: see keras_nest.data.configuration
    "randerasing": {},
    "mix": {},
    "colorjitter": {},
    "pp": {},
    "transfer": "float32",  # "uint8": a quarter of the bytes to the device, which then normalises, erases and mixes
    "loss": "softmax",  # or "sigmoid", each class for itself
    "init_checkpoint": "",  # weights to start from: whatever create_model(weights=…) reads
    "resize_posembed": None,  # accepted; position embeddings are resized to the image size in any case
    "reinit_head": None,  # "zero_all": start with a head of zeros instead of the checkpoint's
    "freeze": (),  # layers that stay as they are, by patterns of their paths such as "EncoderNDBlock_*"
    "ema_decay": 0.0,  # share that the average of the weights keeps each step; the average is what is kept
    "vocab": "",  # this and the next four are of LiT: file with the vocabulary of the text tower
    "image_tower": "",  # whatever open_model reads; takes the place of LiT's own, without its head
    "lock_image": True,  # keep the image tower as it is
    "templates": ("{}",),  # captions of data sets with classes; {} stands for the text of a class
    "class_texts": (),  # texts of the classes in their order; () are their names
    "sam_rho": 0.0,  # radius of sharpness-aware minimisation
    "gsam_rho_min": None,  # radius at the lowest learning rate
    "gsam_alpha": 0.0,
    "dtype_policy": "float32",  # or "mixed_bfloat16"
    "jit_compile": "auto",  # XLA on one device; "auto" is on a GPU
    "eval_only": False,
    "log_model_profile": False,  # parameters and multiply-adds before training; 2 stops there
    "profile_steps": (),  # first and last step that the profiler of TensorBoard sees
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
INFERENCE_TIME: dict[str, Any] = {
    "trainer": "inference_time",
    "train": "inference_time",  # the reference's name of the field before
    "model_name": None,
    "model": {},
    "dtype_policy": "float32",
    "jit_compile": "auto",
    "log_dir": ".",  # accepted; the results lie in --workdir
    "steps": 30,
    "initial_steps": 10,  # steps before those that are measured
    "batch": 0,
    "num_classes": 0,
    "image_size": 0,
}
GAN: dict[str, Any] = {
    "trainer": "gan",
    "model_name": "nest_generator_64",  # as keras_nest.generative.generator.create_generator takes it
    "model": {},  # further fields of the generator
    "discriminator": {},  # fields of keras_nest.generative.Discriminator
    "dataset": None,  # as for COMMON
    "tfds_data_dir": None,
    "total_steps": None,  # updates of each of the two
    "batch": 64,
    "learning_rate": 3e-4,  # of the generator, constant
    "discriminator_learning_rate": 1e-3,  # likewise
    "beta_1": 0.0,  # of Adam
    "beta_2": 0.99,
    "r1_gamma": 0.1,  # weight of the penalty on the discriminator's gradient at real images
    "r1_every": 8,  # steps from one penalty to the next, which counts so many times
    "max_shift": 0,  # pixels by which all that the discriminator sees is moved at random
    "ema_decay": 0.999,  # share that the average of the generator's weights keeps each step; the average is kept
    "progress_every": 100,  # steps from one row of the history to the next
    "sample_every": 500,  # steps from one picture of samples to the next
    "checkpoint_every": 500,
    "dtype_policy": "float32",
    "jit_compile": "auto",
    "seed": 0,  # of initial weights, order, noise and shifts
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
    "r1_every",
    "sample_every",
)
_PP = ("train", "test", "crop", "resize")  # the last is accepted; the reference does not use it
_POSITIVE_OF_TIMES = ("steps", "batch", "num_classes", "image_size")
_CHOICES = {
    "trainer": ("train", "inference_time", "gan"),
    "loss": ("softmax", "sigmoid"),
    "transfer": ("float32", "uint8"),
    "reinit_head": (None, "", "zero_all"),
    "num_eval_steps": (-1,),
    "eval_pad_last_batch": (True,),
    "jit_compile": ("auto", True, False),
}


def resolve(config: ConfigDict | Mapping[str, Any]) -> ConfigDict:
    """The complete configuration: what is given, and defaults for the rest.

    Args:
        config: fields of `COMMON` and of either `NEST` or `VIT`, or those of `INFERENCE_TIME` or `GAN`. Required are
            model_name, dataset, and num_epochs or total_steps.

    Returns:
        A locked copy.

    Raises:
        ValueError: an unknown field, a missing one, or a value that the field cannot have.
    """
    given = config.to_dict() if isinstance(config, ConfigDict) else dict(config)
    defaults = _defaults(given)
    for field in given:
        if field not in defaults:
            raise ValueError(f"The configuration has an unknown field {field!r}; {_hint(field, given, defaults)}")
    resolved = {**defaults, **given}
    # The papers' own configurations say None where a group has no fields.
    resolved |= {field: {} for field, default in defaults.items() if resolved[field] is None and default == {}}
    if resolved.get("model_or_filename"):
        resolved["model_name"] = resolved["model_name"] or resolved["model_or_filename"].split("-")[0]
    _check(resolved)
    return ConfigDict(resolved).lock()


def is_of_vit(config: Mapping[str, Any] | ConfigDict) -> bool:
    """Whether a configuration counts in steps, as those of ViT, Mixer and AugReg do."""
    return any(field in _ONLY_VIT for field in config)


def times_inference(config: Mapping[str, Any] | ConfigDict) -> bool:
    """Whether a configuration measures the speed of a model instead of training it."""
    return "inference_time" in (config.get("trainer"), config.get("train"))


def plays_gan(config: Mapping[str, Any] | ConfigDict) -> bool:
    """Whether a configuration trains a generator against a discriminator."""
    return config.get("trainer") == "gan"


def _defaults(given: Mapping[str, Any]) -> dict[str, Any]:
    if times_inference(given):
        return INFERENCE_TIME
    if plays_gan(given):
        return GAN
    return {**COMMON, **(VIT if is_of_vit(given) else NEST)}


def _hint(field: str, given: Mapping[str, Any], defaults: Mapping[str, Any]) -> str:
    if field in NEST and "total_steps" in defaults:
        own = next(name for name in given if name in _ONLY_VIT)
        return f"it belongs to configurations that count in epochs, and {own!r} makes this one count in steps."
    return did_you_mean(field, defaults, "its fields are {}.")


def _check(config: Mapping[str, Any]) -> None:
    times = times_inference(config)
    for field in config.get("pp", {}):
        if field not in _PP:
            raise ValueError(f"There is no field pp.{field}; {did_you_mean(field, _PP)}")
    for field in ("model_name", "dataset", "num_epochs", "total_steps"):
        if field in config and config[field] in (None, ""):
            raise ValueError(f"The configuration does not say {field}; it must.")
    for field in _POSITIVE_OF_TIMES if times else _POSITIVE:
        if field in config and not (type(config[field]) is int and config[field] > 0):
            raise ValueError(f"{field} is {config[field]!r}; it must be a positive whole number.")
    for field, choices in _CHOICES.items():
        if field in config and config[field] not in choices:
            known = " or ".join(map(repr, choices))
            raise ValueError(f"{field} is {config[field]!r}; it must be {known}.")
    if not times:
        _check_ranges(config["seed"], config["ema_decay"], tuple(config.get("profile_steps", ())))
    if config["dtype_policy"] not in ("float32", "mixed_bfloat16"):
        raise ValueError(
            f"dtype_policy is {config['dtype_policy']!r}; it must be 'float32' or 'mixed_bfloat16', since the loss "
            "scaling that float16 needs is broken under a strategy."
        )


def _check_ranges(seed: Any, ema_decay: Any, profile_steps: tuple[Any, ...]) -> None:
    if not (type(seed) is int and 0 <= seed < 2**32):
        raise ValueError(f"seed is {seed!r}; it must be a whole number from 0 to 2**32 - 1.")
    if not 0 <= ema_decay < 1:
        raise ValueError(f"ema_decay is {ema_decay!r}; it must be at least 0 and below 1.")
    if profile_steps and not (len(profile_steps) == 2 and 0 < profile_steps[0] <= profile_steps[1]):
        raise ValueError(f"profile_steps is {profile_steps}; it must be the first and the last step, such as (10, 20).")
