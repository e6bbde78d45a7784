"""Training, fine-tuning or evaluation of a classifier: an image -> one of the classes of a data set."""

import functools
import math
import pathlib
from collections.abc import Callable
from typing import Any

import tensorflow as tf
from ml_collections import ConfigDict

from keras_nest import data
from keras_nest.backends import on_tensorflow
from keras_nest.data.pipeline import Transfer
from keras_nest.factory import create_model
from keras_nest.models.base import ImageModel
from keras_nest.models.losses import ACTIVATIONS, ANSWERS, LOSSES, LOSSES_OF_TASK, weigh_classes
from keras_nest.targets import REGRESSION
from keras_nest.training.config import resolve
from keras_nest.training.evaluation import Evaluator
from keras_nest.training.experiment import Experiment
from keras_nest.training.measures import step_metric
from keras_nest.training.plan import Plan
from keras_nest.training.setup import Setup, freeze, get_start, get_weights, set_up
from keras_nest.training.strategies import Strategy
from keras_nest.training.tasks import Task
from keras_nest.training.trainer import Prepare, Trainer
from keras_nest.training.units import standardize
from keras_nest.types import Size

_OF_LIT = ("vocab", "image_tower", "class_texts")


def prepare(
    config: ConfigDict,
    workdir: str | pathlib.Path,
    overwrite: bool = False,
    strategy: str | Strategy = "auto",
    tpu: str | None = None,
) -> Experiment:
    """Everything before the first step of a classifier; whatever is wrong with the request is found here.

    Args:
        config: as `keras_nest.training.config.resolve` gives it.
        workdir: directory of the run; nothing is written yet.
        overwrite: the results of an earlier run in it may be replaced.
        strategy: a name for `create_strategy`, or a strategy.
        tpu: as for `create_strategy`.

    Raises:
        ValueError: a field has no meaning.
        FileExistsError: the directory holds the results of another run.
        FileNotFoundError: data, weights, or checkpoints that were written are not there.
        ModuleNotFoundError: the package with the data is not installed.
        ConnectionError: no TPU answers.
    """
    setup = set_up(config, workdir, overwrite, strategy, tpu)
    info = setup.source.info
    _check_labels(config, info)
    recipe, size = setup.build_recipe(get_start(config))
    _check_task(config, info, recipe)
    with setup.scope():
        model = build_classifier(config, setup.plan, info, size, recipe)
        _check_classes(model, info)
        trainer = _compile(model, setup, recipe)
        kept = setup.get_kept(model)
        evaluator = Evaluator(kept, ACTIVATIONS.get(config.loss, config.loss), info, config.jit_compile)
    batches = functools.partial(data.train_batches, transfer=_transfer(config, recipe), service=config.data_service)
    return setup.build_experiment(trainer, kept, evaluator, recipe, size, batches)


TASK = Task(resolve, prepare)


def build_classifier(
    config: ConfigDict, plan: Plan, info: data.DatasetInfo, size: Size, recipe: data.Recipe
) -> ImageModel:
    """Creates the model: the fields of the configuration, the classes and the size of the data.

    Raises:
        ValueError: a field has no meaning, or the checkpoint does not fit.
        FileNotFoundError: there is no such checkpoint.
    """
    known = {"num_classes": info.num_classes, "image_size": size, "preprocessing": recipe.preprocessing.to_dict()}
    known["dtype"] = config.dtype_policy
    weights = get_weights(config)
    if weights is not None:
        known |= {"weights": weights, "reinit_head": plan.new_head}
    model = create_model(config.model_name, **{**known, **config.model.to_dict()})
    freeze(model, config.freeze)
    model.task = ANSWERS[config.loss]
    if info.target.task == REGRESSION and weights is not None and not plan.new_head:
        standardize(model, info.scale)
    return model


def _compile(model: ImageModel, setup: Setup, recipe: data.Recipe) -> Trainer:
    """The train step of the configuration."""
    config, plan = setup.config, setup.plan
    optimizer, sharpness = setup.build_optimizer(model)
    trainer = Trainer(model, plan.clip_norm, config.accum_steps, sharpness, _finish(setup, recipe))
    trainer.compile(
        optimizer, _loss(model, config), metrics=[step_metric(setup.source.info)], jit_compile=config.jit_compile
    )
    trainer.log_every_step = False
    return trainer


def _transfer(config: ConfigDict, recipe: data.Recipe) -> Transfer:
    """How images travel: as levels where it is asked for, and where the numbers are the same."""
    return "uint8" if config.transfer == "uint8" or (on_tensorflow() and recipe.finishes_alike) else "float32"


def _finish(setup: Setup, recipe: data.Recipe) -> Prepare | None:
    """What the train step does with images that travel as uint8."""
    if _transfer(setup.config, recipe) == "float32":
        return None
    classes = setup.source.info.num_classes

    def finish(sent: tuple[tf.Tensor, tf.Tensor], labels: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        images, keys = sent
        return recipe.finish(images, labels, keys, classes)

    return finish


def _loss(model: ImageModel, config: ConfigDict) -> Callable[..., Any]:
    """The loss of a configuration, for the model's logits or probabilities.

    Raises:
        ValueError: the model's probabilities are not those of the loss.
    """
    loss, activation = LOSSES[config.loss], model.classifier_activation
    if activation not in (None, ACTIVATIONS.get(config.loss)):
        kind = f"{ACTIVATIONS[config.loss]} probabilities" if config.loss in ACTIVATIONS else "numbers"
        raise ValueError(
            f"model.classifier_activation is {activation!r} and loss is {config.loss!r}, which is of {kind}; leave "
            "classifier_activation out."
        )
    loss = functools.partial(loss, from_logits=False) if activation else loss
    return loss if config.class_weights is None else weigh_classes(loss, config.class_weights)


def _check_labels(config: ConfigDict, info: data.DatasetInfo) -> None:
    """Refuses captions, which only a LiT reads."""
    if given := [field for field in _OF_LIT if config[field]]:
        raise ValueError(f"{given[0]} is a field of LiT; {config.model_name} has no text tower.")
    if info.has_captions:
        raise ValueError(f"{info.name} has captions and no classes; train a LiT on it.")
    if config.class_weights is not None:
        _check_class_weights(config.class_weights, info)


def _check_task(config: ConfigDict, info: data.DatasetInfo, recipe: data.Recipe) -> None:
    """Refuses what does not fit what the data tell of an image."""
    task = info.target.task
    if config.loss not in LOSSES_OF_TASK[task]:
        known = " or ".join(repr(loss) for loss in LOSSES_OF_TASK[task])
        raise ValueError(
            f"loss is {config.loss!r}, and the column {info.target.column!r} of {info.name} is for {task}; loss must "
            f"be {known}."
        )
    if info.target.is_single_label:
        return
    given = {"mix": recipe.mix, "class_weights": config.class_weights, "sampling": config.sampling}
    if wrong := [field for field, value in given.items() if value]:
        raise ValueError(f"{wrong[0]} is for images with one class each, and {info.name} is for {task}; leave it out.")


def _check_class_weights(weights: Any, info: data.DatasetInfo) -> None:
    """Refuses what is not a positive number for each class."""
    try:
        fit = len(weights) == info.num_classes and all(0 < float(weight) < math.inf for weight in weights)
    except (TypeError, ValueError):
        fit = False
    if not fit:
        raise ValueError(
            f"class_weights is {weights!r}; it must be a number above 0 for each of the {info.num_classes} classes of "
            f"{info.name}."
        )


def _check_classes(model: ImageModel, info: data.DatasetInfo) -> None:
    """Labels beyond the last class would have no loss, and answers beyond it would be left out of the accuracy."""
    if model.num_classes != info.num_classes:
        raise ValueError(
            f"The model has {model.num_classes} classes, {info.name} {info.num_classes}; leave model.num_classes out."
        )
