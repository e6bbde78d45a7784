"""The fields of training configurations under the names of the papers' own: defaults, kinds of values, a line on each.

NesT's configurations count in epochs and give the batch of one device and the learning rate of a batch of 256; those of
ViT, Mixer and AugReg count in steps and give the whole batch and its rate. Apart from what trains by them, since help
and command lines need neither Keras nor TensorFlow.
"""

import math
from collections.abc import Mapping
from numbers import Integral, Real
from typing import Any, Literal, NamedTuple, TypeAlias

Kind: TypeAlias = Literal[
    "any",
    "text",
    "texts",
    "patterns",
    "switch",
    "count",
    "whole",
    "every",
    "number",
    "limit",
    "share",
    "steps",
    "group",
]
"""What a value may be: see `FIT`."""


class Field(NamedTuple):
    """A field of a configuration.

    Attributes:
        default: its value where nothing else is said.
        about: what it is, in a line.
        kind: of its values; None may always stand where it is the default.
    """

    default: Any
    about: str
    kind: Kind = "any"


FIT: dict[Kind, tuple[Any, str]] = {
    "any": (lambda value: True, "anything"),
    "text": (lambda value: isinstance(value, str), "a text"),
    "texts": (lambda value: _are(str, value), "texts, such as ('a', 'b')"),
    "patterns": (lambda value: isinstance(value, str) or _are(str, value), "texts, such as ('a', 'b*')"),
    "switch": (lambda value: isinstance(value, bool), "True or False"),
    "count": (lambda value: _is(Integral, value) and value > 0, "a positive whole number"),
    "whole": (lambda value: _is(Integral, value) and value >= 0, "a whole number, 0 or more"),
    "every": (lambda value: _is(Integral, value) and value >= -1, "a whole number, 0 or more, or -1"),
    "number": (lambda value: _is(Real, value) and 0 <= value < math.inf, "a number, 0 or more"),
    "limit": (lambda value: value is None or (_is(Real, value) and value >= 0), "a number, 0 or more"),
    "share": (lambda value: _is(Real, value) and 0 <= value < 1, "at least 0 and below 1"),
    "steps": (lambda value: _are(Integral, value), "whole numbers, such as (10, 20)"),
    "group": (lambda value: hasattr(value, "items"), "a group of fields"),
}
"""Kind -> whether a value is of that kind, and what it must be in words."""

COMMON: dict[str, Field] = {
    "trainer": Field("train", 'a classifier or a LiT; "inference_time" and "gan" have fields of their own'),
    "model_name": Field(None, "as `keras-nest list` has it", "text"),
    "model": Field({}, "fields of the model: --config.model.FIELD=VALUE", "group"),
    "dataset": Field(None, '"digits", a directory, a table, or a data set of TFDS', "text"),
    "tfds_data_dir": Field(None, "where TFDS finds its data", "text"),
    "broken": Field(None, 'files in folders that are no images: "refuse", "skip" or "unchecked"'),
    "augment": Field({"type": "none"}, '.type "randaugment", "default", "shift" or "none", with its fields', "group"),
    "randerasing": Field({}, ".erase_prob", "group"),
    "mix": Field({}, ".mixup_alpha, .cutmix_alpha, .smoothing and .prob_to_apply", "group"),
    "colorjitter": Field({}, '.type "colorjitter" with .colorjitter_strength', "group"),
    "pp": Field({}, ".train and .test: splits of the data; .crop: side of the images in pixels", "group"),
    "transfer": Field(
        "float32",
        '"uint8": a quarter of the bytes to the device, which then normalizes, erases and mixes',
    ),
    "cache_side": Field(
        None, "training images are kept decoded, the shorter side so many pixels at most; 0: as they are", "whole"
    ),
    "data_service": Field(None, "grpc://HOST:PORT of a tf.data service that prepares the training images", "text"),
    "loss": Field(
        "softmax", '"softmax"; "sigmoid": each class for itself; "focal": sure ones count less; "squared": numbers'
    ),
    "class_weights": Field(None, "factors of the loss, one for each class, such as (0.5, 2.0)"),
    "sampling": Field(None, '"balanced": all classes come up equally often in training; of files'),
    "patience": Field(None, "keep the best weights, end after so many evaluations without better ones", "count"),
    "init_checkpoint": Field("", "weights to start from: a file, a directory of a training, an address", "text"),
    "resize_posembed": Field(None, "accepted; position embeddings are resized to the image size in any case"),
    "reinit_head": Field(None, '"zero_all": start with a head of zeros instead of the checkpoint\'s'),
    "freeze": Field(
        (), 'layers that stay as they are, by patterns of their paths such as "EncoderNDBlock_*"', "patterns"
    ),
    "layer_decay": Field(None, "factor of the rate from each block to the one before it, such as 0.75", "number"),
    "ema_decay": Field(0.0, "of the moving average of the weights, which is what is kept", "share"),
    "vocab": Field("", "of LiT, as the next four: file with the vocabulary of the text tower", "text"),
    "image_tower": Field("", "a trained model whose image tower takes the place of LiT's own", "text"),
    "lock_image": Field(True, "keep the image tower as it is", "switch"),
    "templates": Field(("{}",), "captions of data sets with classes; {} stands for the text of a class", "texts"),
    "class_texts": Field((), "texts of the classes in their order; () are their names", "texts"),
    "sam_rho": Field(0.0, "radius of sharpness-aware minimization", "number"),
    "gsam_rho_min": Field(None, "radius at the lowest learning rate", "number"),
    "gsam_alpha": Field(0.0, "of GSAM", "number"),
    "dtype_policy": Field("float32", '"float32", "mixed_bfloat16" or, with loss scaling, "mixed_float16"'),
    "jit_compile": Field("auto", 'XLA: True, False; "auto" is True on one GPU; of several, forward and backward pass'),
    "steps_per_execution": Field(
        1, "steps handed to the device at once; what is due comes after its own step", "count"
    ),
    "eval_only": Field(False, "evaluate, without training", "switch"),
    "log_model_profile": Field(False, "parameters and multiply-adds before training; 2 stops there"),
    "profile_steps": Field((), "first and last step that the profiler of TensorBoard sees", "steps"),
    "checkpoint_every_minutes": Field(None, "a checkpoint at least so often; None: 15; 0: by steps alone", "number"),
    "minutes": Field(None, "stop at the last evaluation within so many; None: go on to the last step", "number"),
    "log": Field(None, '"wandb" or "mlflow": rows of the history go there, too'),
    "seed": Field(0, "of initial weights, order, augmentation and stochastic depth"),
    "trial": Field(0, "number of a repetition; without effect"),
}
"""Of all classifiers and LiTs."""

NOT_OF_THE_RESULT = ("data_service", "steps_per_execution")
"""Fields that a run may change when it goes on, since what it learns does not depend on them."""

NEST: dict[str, Field] = {
    "num_epochs": Field(None, "times that each training image comes up", "count"),
    "num_train_steps": Field(-1, "-1: as many as the epochs have", "every"),
    "per_device_batch_size": Field(64, "images a step and device", "count"),
    "input_size": Field(None, "side of the images in pixels"),
    "accum_steps": Field(1, "parts of a device's batch that go through the model one after the other", "count"),
    "shuffle_buffer_size": Field(4096, "for what is too large to be shuffled as a whole", "count"),
    "optim": Field("adamw", '"adamw", "adam", "sgd" or "momentum"'),
    "optim_wd_ignore": Field(("pos_embedding",), "parameters without decay, by part of their path", "texts"),
    "weight_decay": Field(0.05, "of the optimizer", "number"),
    "sgd_momentum": Field(0.9, "of sgd and momentum", "share"),
    "optim_dtype": Field("float32", 'of the accumulator of "momentum"', "text"),
    "grad_clip_max_norm": Field(0, "largest norm of a gradient; 0: any", "limit"),
    "learning_rate": Field(1e-3, "the highest, of a batch of 256; scaled by the batch size", "number"),
    "min_learning_rate": Field(0.0, "likewise, the lowest", "number"),
    "learning_rate_schedule": Field("cosine", '"cosine", "linear" or "constant"; "range_test" rises until it diverges'),
    "warmup_epochs": Field(0, "in which the learning rate rises", "number"),
    "log_loss_every_steps": Field(0, "rows of the history; 0: with each evaluation", "whole"),
    "eval_every_steps": Field(-1, "-1: every eval_per_epochs; 0: at the end", "every"),
    "eval_per_epochs": Field(1, "epochs from one evaluation to the next", "count"),
    "checkpoint_every_steps": Field(0, "0: with each evaluation", "whole"),
    "num_eval_steps": Field(-1, "accepted if -1: all images are evaluated"),
    "eval_pad_last_batch": Field(True, "accepted if true"),
    "total_steps": Field(None, "in the place of num_epochs: updates", "count"),
    "batch": Field(None, "in the place of per_device_batch_size: images of all devices together", "count"),
    "base_lr": Field(None, "in the place of learning_rate: that of the batch as it is", "number"),
    "warmup_steps": Field(None, "in the place of warmup_epochs", "whole"),
}
"""Of those that count in epochs."""

VIT: dict[str, Field] = {
    "model_type": Field(None, "accepted; follows from model_name"),
    "pretrained_dir": Field("", 'directory of published checkpoints, or of a training; "": new weights', "text"),
    "model_or_filename": Field(None, 'of AugReg: a model such as "R_Ti_16", of which the best is taken, or a file'),
    "tfds_manual_dir": Field(None, "accepted; TFDS prepares nothing here"),
    "total_steps": Field(None, "updates", "count"),
    "batch": Field(512, "images a step, of all devices together", "count"),
    "batch_eval": Field(512, "likewise, in evaluation", "count"),
    "accum_steps": Field(8, "parts of a device's batch that go through the model one after the other", "count"),
    "prefetch": Field(2, "accepted; tf.data finds out by itself"),
    "shuffle_buffer": Field(50_000, "for what is too large to be shuffled as a whole", "count"),
    "optim": Field("momentum", '"adamw", "adam", "sgd" or "momentum"'),
    "optim_wd_ignore": Field((), "parameters without decay, by part of their path", "texts"),
    "weight_decay": Field(0.0, "of the optimizer", "number"),
    "optim_dtype": Field("bfloat16", 'of the accumulator of "momentum"', "text"),
    "grad_norm_clip": Field(1.0, "largest norm of a gradient; 0: any", "limit"),
    "base_lr": Field(0.03, "the highest learning rate", "number"),
    "decay_type": Field("cosine", '"cosine" or "linear"'),
    "warmup_steps": Field(500, "in which the learning rate rises", "whole"),
    "progress_every": Field(10, "steps from one row of the history to the next", "whole"),
    "eval_every": Field(100, "steps from one evaluation to the next; 0: at the end", "whole"),
    "checkpoint_every": Field(1000, "0: none", "whole"),
    "num_epochs": Field(None, "in the place of total_steps: times that each training image comes up", "count"),
    "per_device_batch_size": Field(None, "in the place of batch: images a step and device", "count"),
    "learning_rate": Field(None, "in the place of base_lr: that of a batch of 256", "number"),
    "warmup_epochs": Field(None, "in the place of warmup_steps", "number"),
}
"""Of those that count in steps."""

INFERENCE_TIME: dict[str, Field] = {
    "trainer": Field("inference_time", "what is done"),
    "train": Field("inference_time", "the reference's name of the field before"),
    "model_name": Field(None, "as `keras-nest list` has it", "text"),
    "model": Field({}, "fields of the model: --config.model.FIELD=VALUE", "group"),
    "dtype_policy": Field("float32", '"float32", "mixed_bfloat16" or "mixed_float16"'),
    "jit_compile": Field("auto", 'XLA: True, False; "auto" is True on a GPU'),
    "log_dir": Field(".", "accepted; the results lie in --workdir"),
    "steps": Field(30, "that are measured", "count"),
    "initial_steps": Field(10, "before those that are measured", "whole"),
    "batch": Field(0, "images a step", "count"),
    "num_classes": Field(0, "of the head", "count"),
    "image_size": Field(0, "side in pixels", "count"),
}
"""Of those that measure the speed of a model."""

GAN: dict[str, Field] = {
    "trainer": Field("gan", "what is done"),
    "model_name": Field("nest_generator_64", "of a generator", "text"),
    "model": Field({}, "fields of the generator: --config.model.FIELD=VALUE", "group"),
    "discriminator": Field({}, ".widths, .stem_stride and further fields of the other network", "group"),
    "dataset": Field(None, '"digits", a directory, a table, or a data set of TFDS', "text"),
    "tfds_data_dir": Field(None, "where TFDS finds its data", "text"),
    "broken": Field(None, 'files in folders that are no images: "refuse", "skip" or "unchecked"'),
    "total_steps": Field(None, "updates of each of the two", "count"),
    "batch": Field(64, "images a step", "count"),
    "learning_rate": Field(3e-4, "of the generator, constant", "number"),
    "discriminator_learning_rate": Field(1e-3, "likewise", "number"),
    "beta_1": Field(0.0, "of Adam", "share"),
    "beta_2": Field(0.99, "of Adam", "share"),
    "r1_gamma": Field(0.1, "weight of the penalty on the discriminator's gradient at real images", "number"),
    "r1_every": Field(8, "steps from one penalty to the next, which counts so many times", "count"),
    "max_shift": Field(0, "pixels by which all that the discriminator sees is moved at random", "whole"),
    "ema_decay": Field(0.999, "of the moving average of the generator's weights, which is what is kept", "share"),
    "progress_every": Field(100, "steps from one row of the history to the next", "whole"),
    "sample_every": Field(500, "steps from one picture of samples to the next", "count"),
    "checkpoint_every": Field(500, "0: none", "whole"),
    "checkpoint_every_minutes": Field(None, "a checkpoint at least so often; None: 15; 0: by steps alone", "number"),
    "dtype_policy": Field("float32", '"float32" or "mixed_bfloat16"'),
    "jit_compile": Field("auto", 'XLA: True, False; "auto" is True on a GPU'),
    "seed": Field(0, "of initial weights, order, noise and shifts"),
}
"""Of those that train a generator."""

HEADINGS = {
    "Fields of all trainings of classifiers and LiTs": COMMON,
    "Fields of those that count in epochs (NesT)": NEST,
    "Fields of those that count in steps (ViT, Mixer, AugReg)": VIT,
    "Fields of those that measure the speed of a model": INFERENCE_TIME,
    "Fields of those that train a generator": GAN,
}
"""All of them, as help shows them."""


def defaults(fields: Mapping[str, Field]) -> dict[str, Any]:
    """Field -> its default."""
    return {name: field.default for name, field in fields.items()}


def check_kinds(config: Mapping[str, Any], fields: Mapping[str, Field]) -> None:
    """Refuses values that are not of the kind of their field.

    Args:
        config: field -> value, complete.
        fields: field -> what it is.

    Raises:
        ValueError: names the field, the value and what would be right.
    """
    for name, (default, _, kind) in fields.items():
        value = config[name]
        is_right, words = FIT[kind]
        if not (is_right(value) or (value is None and default is None)):
            raise ValueError(f"{name} is {value!r}; it must be {words}.")


def _is(kind: type, value: Any) -> bool:
    """Whether a value is a number of a kind; False and True are none."""
    return isinstance(value, kind) and not isinstance(value, bool)


def _are(kind: type, values: Any) -> bool:
    """Whether values are several of a kind."""
    return isinstance(values, (list, tuple)) and all(isinstance(value, kind) for value in values)
