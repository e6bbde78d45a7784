"""From a configuration to a training that can start."""

import functools
import pathlib
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import keras
import tensorflow as tf
from ml_collections import ConfigDict

from keras_nest import data
from keras_nest.metrics import accuracy
from keras_nest.models.base import ImageModel
from keras_nest.models.lit import LiT
from keras_nest.models.losses import LOSSES
from keras_nest.registry import preprocessing_spec
from keras_nest.training import run_directory
from keras_nest.training.config import resolve
from keras_nest.training.contrastive import ContrastiveTrainer
from keras_nest.training.evaluation import Evaluator
from keras_nest.training.experiment import Experiment
from keras_nest.training.lit import captions_of, image_tower, lit_of, with_class_texts
from keras_nest.training.models import model_of, start_of
from keras_nest.training.optimizers import create_optimizer
from keras_nest.training.plan import Plan, plan_of
from keras_nest.training.sharpness import SharpnessAware
from keras_nest.training.strategies import create_strategy, is_chief, wait_for_all
from keras_nest.training.trainer import Prepare, Trainer
from keras_nest.training.zero_shot import ZeroShotEvaluator
from keras_nest.types import Size, as_size

Config: TypeAlias = ConfigDict | Mapping[str, Any]
"""Fields of `keras_nest.training.config`."""


def prepare(
    config: Config,
    workdir: str | pathlib.Path,
    overwrite: bool = False,
    strategy: str | tf.distribute.Strategy = "auto",
    tpu: str | None = None,
) -> Experiment:
    """Everything before the first step; whatever is wrong with the request is found here.

    Args:
        config: what to train, on what, how.
        workdir: directory of the run; from now on it belongs to this one.
        overwrite: start anew, and replace the results of an earlier run in it.
        strategy: a name for `create_strategy`, or a strategy.
        tpu: as for `create_strategy`.

    Raises:
        ValueError: a field has no meaning.
        FileExistsError: the directory holds the results of another run.
        InUseError: another training is at work there.
        FileNotFoundError: data, weights, or checkpoints that were written are not there.
        PermissionError: the directory cannot be written to.
        ModuleNotFoundError: the package with the data is not installed.
        ConnectionError: no TPU answers.
    """
    fields, directory = resolve(config), pathlib.Path(workdir)
    # Before anything else touches TensorFlow: several machines find each other only then.
    strategy = create_strategy(strategy, tpu) if isinstance(strategy, str) else strategy
    source = data.open_source(
        fields.dataset,
        train_split=fields.pp.get("train", "train"),
        test_split=fields.pp.get("test"),
        data_dir=fields.tfds_data_dir,
        shuffle_buffer=fields.get("shuffle_buffer_size") or fields.get("shuffle_buffer"),
    )
    plan = plan_of(fields, source.info.num_train, strategy)
    stated = run_directory.as_json(fields) | {"global_batch_size": plan.batch_size}
    run_directory.check(directory, stated, overwrite)
    if not (overwrite or fields.eval_only):
        run_directory.check_progress(directory, plan.total_steps, plan.saves_at)
    captions = captions_of(fields, source)
    source = with_class_texts(fields, source)
    published, usual_size = preprocessing_spec(image_tower(fields) or start_of(fields))
    size = _image_size(fields, usual_size)
    recipe = data.recipe_of(fields.to_dict(), source.info, size, published)
    train = functools.partial(_batches(fields, captions), source, recipe, size, plan.batch_size, fields.seed)
    test = functools.partial(data.eval_batches, source, recipe, size, plan.eval_batch_size)
    with strategy.scope():
        keras.utils.set_random_seed(fields.seed)
        model = _model(fields, source, captions, size, recipe)
        trainer = _trainer(model, fields, plan, _finish(fields, recipe, source.info))
        averages = fields.ema_decay and not fields.eval_only
        kept = type(model).from_config(model.get_config()) if averages else model
        evaluator = _evaluator(kept, fields, source, captions)
    experiment = Experiment(
        fields, stated, directory, strategy, plan, source.info, trainer, evaluator, kept, train, test
    )
    if is_chief(strategy):
        run_directory.claim(directory, stated, overwrite)
    # Before it was claimed, the directory may hold checkpoints of a run that is replaced.
    wait_for_all(strategy)
    return experiment


def _image_size(config: ConfigDict, usual: Size) -> Size:
    """Size of the images: what the configuration says, or the published one of the model."""
    given = config.model.get("image_size") or config.get("input_size") or config.pp.get("crop")
    return as_size(given or usual)


def _batches(config: ConfigDict, captions: data.Captions | None) -> Callable[..., data.TrainBatches]:
    """What makes training batches."""
    if captions:
        return functools.partial(data.captioned_batches, captions=captions)
    return functools.partial(data.train_batches, transfer=config.transfer)


def _model(
    config: ConfigDict, source: data.Source, captions: data.Captions | None, size: Size, recipe: data.Recipe
) -> ImageModel:
    """The model before its first step."""
    if captions:
        return lit_of(config, captions, size, recipe.preprocessing.to_dict())
    model, info = model_of(config, source.info, size, recipe), source.info
    if model.num_classes != info.num_classes:
        raise ValueError(
            f"The model has {model.num_classes} classes, {info.name} {info.num_classes}; leave model.num_classes out."
        )
    return model


def _finish(config: ConfigDict, recipe: data.Recipe, info: data.DatasetInfo) -> Prepare | None:
    """What the train step does with images that travel as uint8."""
    if config.transfer == "float32":
        return None

    def finish(sent: tuple[tf.Tensor, tf.Tensor], labels: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        images, keys = sent
        return recipe.finish(images, labels, keys, info.num_classes)

    return finish


def _trainer(model: ImageModel, config: ConfigDict, plan: Plan, finish: Prepare | None) -> Trainer:
    """The model, compiled for classification or, if it has two towers, for contrastive tuning."""
    clip_norm = config.get("grad_clip_max_norm", config.get("grad_norm_clip"))
    sharpness = _sharpness(config, plan)
    optimizer = create_optimizer(
        model,
        config.optim,
        plan.schedule,
        config.weight_decay,
        config.optim_wd_ignore,
        config.get("sgd_momentum", 0.9),
        config.optim_dtype,
        config.ema_decay,
    )
    if isinstance(model, LiT):
        trainer: Trainer = ContrastiveTrainer(model, clip_norm, sharpness)
        trainer.compile(optimizer, jit_compile=config.jit_compile)
    else:
        trainer = Trainer(model, clip_norm, config.accum_steps, sharpness, finish)
        trainer.compile(optimizer, _loss(model, config), metrics=[accuracy], jit_compile=config.jit_compile)
    trainer.log_every_step = False
    return trainer


def _loss(model: ImageModel, config: ConfigDict) -> Callable[..., Any]:
    """The loss of a configuration, for what the model puts out.

    Raises:
        ValueError: the model's probabilities are not those of the loss.
    """
    loss, activation = LOSSES[config.loss], model.classifier_activation
    if activation not in (None, config.loss):
        raise ValueError(
            f"model.classifier_activation is {activation!r} and loss is {config.loss!r}; they must be the same, or "
            "leave classifier_activation out."
        )
    return functools.partial(loss, from_logits=False) if activation else loss


def _evaluator(model: ImageModel, config: ConfigDict, source: data.Source, captions: data.Captions | None) -> Evaluator:
    """What measures the model."""
    if captions and isinstance(model, LiT):
        return ZeroShotEvaluator(model, captions.tokenizer, captions.of_test(source), config.jit_compile)
    return Evaluator(model, config.loss, source.info.num_classes, config.jit_compile)


def _sharpness(config: ConfigDict, plan: Plan) -> SharpnessAware | None:
    if not config.sam_rho:
        return None
    rates = plan.schedule.get_config()
    highest = rates.get("learning_rate", rates.get("base_lr"))
    lowest = rates.get("min_learning_rate", 0.0)
    return SharpnessAware(config.sam_rho, config.gsam_rho_min, config.gsam_alpha, highest, lowest)
