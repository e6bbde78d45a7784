"""What the trainings of classifiers and of LiTs have in common before their first step."""

import contextlib
import dataclasses
import fnmatch
import functools
import pathlib
import posixpath
from collections.abc import Callable, Iterator
from typing import Any

import keras
from ml_collections import ConfigDict

from keras_nest import data
from keras_nest.backends import require_tensorflow
from keras_nest.conversion.own import read_own
from keras_nest.data.host import check_service
from keras_nest.data.sources.balanced import balance_classes
from keras_nest.factory import augreg_checkpoint
from keras_nest.hints import did_you_mean
from keras_nest.layers.changes import layers_by_path
from keras_nest.models.base import ImageModel
from keras_nest.models.keras_file import find_keras_file
from keras_nest.registry import preprocessing_spec
from keras_nest.run_files import CONFIG, CONVERTED
from keras_nest.training import workdir as directories
from keras_nest.training.evaluation import Evaluator
from keras_nest.training.experiment import Experiment
from keras_nest.training.jax_devices import JaxDevices
from keras_nest.training.layer_rates import layer_rates
from keras_nest.training.optimizers import create_optimizer
from keras_nest.training.plan import Plan, build_plan, keep_batch, source_options
from keras_nest.training.sharpness import SharpnessAware
from keras_nest.training.strategies import Strategy, create_strategy, is_chief
from keras_nest.training.trackers import check_tracker
from keras_nest.training.trainer import Trainer
from keras_nest.types import Size

# What fields have to be where Keras does not run on TensorFlow.
_ELSEWHERE = {
    "transfer": "float32",
    "sam_rho": 0.0,
    "profile_steps": (),
    "log_model_profile": False,
    "steps_per_execution": 1,
}


@dataclasses.dataclass(frozen=True)
class Setup:
    """A configuration, and what follows from it before there is a model.

    Attributes:
        config: complete.
        config_json: content of config.json.
        workdir: directory of the run; nothing forbids writing there.
        strategy: where it runs.
        plan: steps and batches.
        source: the data set.
    """

    config: ConfigDict
    config_json: dict[str, Any]
    workdir: pathlib.Path
    strategy: Strategy
    plan: Plan
    source: data.Source

    @contextlib.contextmanager
    def scope(self) -> Iterator[None]:
        """The scope in which the model is made, from the seed of the configuration."""
        with self.strategy.scope():
            keras.utils.set_random_seed(self.config.seed)
            yield

    def build_recipe(self, start: str | keras.Model) -> tuple[data.Recipe, Size]:
        """What happens to the images, and their size: as configured, else as published for the model.

        Args:
            start: the model's name, or the model that training starts from.

        Raises:
            ValueError: a field has no meaning.
        """
        published, usual_size = preprocessing_spec(start)
        size = self.plan.image_size or usual_size
        channels = getattr(start, "config", {}).get("in_channels", 3)
        channels = (self.config.get("model") or {}).get("in_channels", channels)
        recipe = data.recipe_of(self.config.to_dict(), self.source.info, size, published)
        return (recipe if channels == 3 else recipe.for_channels(channels)), size

    def build_optimizer(self, model: keras.Model) -> tuple[keras.optimizers.Optimizer, SharpnessAware | None]:
        """The optimizer of the configuration, and sharpness-aware minimization; None without.

        Raises:
            ValueError: a field has no meaning.
        """
        config, plan = self.config, self.plan
        optimizer = create_optimizer(
            model,
            config.optim,
            plan.schedule,
            config.weight_decay,
            config.optim_wd_ignore,
            plan.momentum,
            config.optim_dtype,
            config.ema_decay,
        )
        if config.layer_decay is not None:
            optimizer.set_layer_rates(model.trainable_variables, layer_rates(model, config.layer_decay))
        if not config.sam_rho:
            return optimizer, None
        return optimizer, SharpnessAware(config.sam_rho, config.gsam_rho_min, config.gsam_alpha, *plan.rates)

    def get_kept(self, model: ImageModel) -> ImageModel:
        """The model that is kept: that which is trained, or one of its own for the average of the weights."""
        averages = self.config.ema_decay and not self.config.eval_only
        return type(model).from_config(model.get_config()) if averages else model

    def build_experiment(
        self,
        trainer: Trainer,
        kept: ImageModel,
        evaluator: Evaluator,
        recipe: data.Recipe,
        size: Size,
        batches: Callable[..., data.TrainBatches],
    ) -> Experiment:
        """The training that can start; nothing of it is written yet.

        Args:
            trainer: compiled.
            kept: as `get_kept` gives it.
            evaluator: measures it.
            recipe: what happens to the images.
            size: of the images.
            batches: (source, recipe, size, batch size, seed, host) -> endless training batches.

        Raises:
            ValueError: images are kept smaller than the model takes them, or its weights were to be divided among
                devices and cannot be.
        """
        if isinstance(self.strategy, JaxDevices):
            self.strategy.check(trainer.model)
        if 0 < (self.config.cache_side or 0) < min(size):
            raise ValueError(
                f"cache_side is {self.config.cache_side}, and images of {min(size)} pixels are made of what is kept; "
                f"it must be {min(size)} or more, and twice that is usual."
            )
        source, plan = self.source, self.plan
        train = functools.partial(batches, source, recipe, size, plan.batch_size, self.config.seed)
        test = functools.partial(data.eval_batches, source, recipe, size, plan.eval_batch_size)
        return Experiment(
            self.config,
            self.config_json,
            self.workdir,
            self.strategy,
            plan,
            source.info,
            trainer,
            evaluator,
            kept,
            train,
            test,
        )


def set_up(
    config: ConfigDict,
    workdir: str | pathlib.Path,
    overwrite: bool,
    strategy: str | Strategy,
    tpu: str | None,
) -> Setup:
    """Opens the data, counts the steps, and looks whether the directory can be written to.

    Args:
        config: complete.
        workdir: directory of the run.
        overwrite: the results of an earlier run in it may be replaced.
        strategy: a name for `create_strategy`, or a strategy.
        tpu: as for `create_strategy`.

    Raises:
        ValueError: a field has no meaning, or the data set has none for it.
        FileExistsError: the directory holds the results of another run.
        FileNotFoundError: data, or checkpoints that were written are not there.
        ModuleNotFoundError: the package with the data, or that of `log`, is not installed.
        ConnectionError: no TPU answers, or no tf.data service.
    """
    _check_backend(config)
    # Before anything else touches TensorFlow: several machines find each other only then.
    strategy = create_strategy(strategy, tpu) if isinstance(strategy, str) else strategy
    check_tracker(config.log)
    if config.data_service:
        check_service(config.data_service)
    directory, given = pathlib.Path(workdir), directories.as_json(config)
    directories.check_place(directory)
    kept = {} if config.eval_only else {"converted": directory / CONVERTED, "cache_side": config.cache_side}
    if kept and config.cache_side is not None and config.data_service:
        raise ValueError("cache_side keeps images on this machine, and those of a data_service are prepared elsewhere.")
    source = data.open_source(config.dataset, **source_options(config), **kept)
    source = balance_classes(source) if config.sampling else source
    if not overwrite and (batch := _begun_with(directory, given)):
        config = _keep_batch(config, batch, strategy)
    plan = build_plan(config, source.info.num_train, strategy.num_replicas_in_sync)
    config_json = given | {"global_batch_size": plan.batch_size}
    directories.check(directory, config_json, overwrite)
    if not (overwrite or config.eval_only):
        directories.check_progress(directory, plan.total_steps, plan.saves_at)
    return Setup(config, config_json, directory, strategy, plan, source)


def _check_backend(config: ConfigDict) -> None:
    """Refuses what is written for TensorFlow where Keras runs on something else."""
    for field, usual in _ELSEWHERE.items():
        if config[field] != usual:
            require_tensorflow(f"{field}={config[field]}", "leave it out")


def _begun_with(directory: pathlib.Path, config: dict[str, Any]) -> int | None:
    """The whole batch of the run in a directory that has this configuration; None without one."""
    there = directories.read_json(directory / CONFIG) or {}
    batch = there.pop("global_batch_size", None)
    return None if directories.differences(there, config) else batch


def _keep_batch(config: ConfigDict, batch: int, strategy: Strategy) -> ConfigDict:
    """The configuration of a run that goes on, perhaps on another number of devices, which is told."""
    replicas = strategy.num_replicas_in_sync
    kept = keep_batch(config, batch, replicas)
    if config.per_device_batch_size not in (None, batch // replicas) and is_chief(strategy):
        parts = f" in {kept.accum_steps} parts" if kept.accum_steps > 1 else ""
        print(
            f"This run began on another number of devices; its batches of {batch} images stay, of which each of "
            f"{replicas} takes {batch // replicas}{parts}.",
            flush=True,
        )
    return kept


def get_start(config: ConfigDict) -> str | ImageModel:
    """What tells the preprocessing and the usual size: the .keras file that training starts from, or the model's name.

    Raises:
        ValueError: the file holds no model of this package.
        FileNotFoundError: there is no such file.
    """
    path = find_keras_file(config.init_checkpoint or config.get("pretrained_dir") or "")
    return read_own(path) if path else config.model_name


def get_weights(config: ConfigDict) -> str | None:
    """Where the weights lie that a configuration starts from; None for new ones.

    Raises:
        ValueError: weights are needed, or named twice.
        FileNotFoundError: the index of AugReg is not where it should be.
    """
    if published := config.get("pretrained_dir"):
        if config.init_checkpoint:
            raise ValueError("pretrained_dir and init_checkpoint both name weights; give one of them.")
        if find_keras_file(published):
            return published
        if config.model_or_filename:
            return augreg_checkpoint(published, config.model_or_filename)
        return posixpath.join(published, f"{config.model_name}.npz")
    if config.eval_only and not config.init_checkpoint:
        raise ValueError("eval_only needs weights; name them with init_checkpoint.")
    return config.init_checkpoint or None


def freeze(model: ImageModel, patterns: Any) -> None:
    """Keeps layers from being trained.

    Args:
        model: changed in place.
        patterns: globs; a layer is frozen, with all that is in it, when one matches its path, such as
            "EncoderNDBlock_0" or "Transformer/encoderblock_*".

    Raises:
        ValueError: a pattern matches no layer, or nothing is left to train.
    """
    paths = layers_by_path(model)
    for pattern in (patterns,) if isinstance(patterns, str) else patterns:
        found = fnmatch.filter(paths, pattern)
        if not found:
            raise ValueError(f"freeze names {pattern!r}, which no layer has; {did_you_mean(pattern, paths, count=3)}")
        for path in found:
            paths[path].trainable = False
    if not model.trainable_variables:
        raise ValueError("freeze leaves nothing to train; name fewer layers.")
