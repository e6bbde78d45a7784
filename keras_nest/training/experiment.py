"""A training that is ready to start, made from its configuration."""

import dataclasses
import pathlib
import sys
from collections.abc import Mapping
from typing import Any, TypeAlias

import keras
import tensorflow as tf
from ml_collections import ConfigDict

from keras_nest import data
from keras_nest.files import atomic_output
from keras_nest.models.base import ImageModel, as_size
from keras_nest.registry import create_model, preprocessing_spec
from keras_nest.training import report, run_directory
from keras_nest.training.config import resolve
from keras_nest.training.objectives import accuracy, cross_entropy
from keras_nest.training.optimizers import create_optimizer
from keras_nest.training.schedules import WarmupDecay

Config: TypeAlias = ConfigDict | Mapping[str, Any]
"""Fields of `keras_nest.training.config.DEFAULTS`."""


@dataclasses.dataclass(frozen=True)
class Experiment:
    """A training that can start.

    Attributes:
        config: complete configuration.
        workdir: where the results go.
        model: the model that is kept; normalised images -> logits.
        trainer: the same layers, compiled. The optimiser stays out of the saved model, which is a third of the size
            and needs nothing of this room to be loaded.
        schedule: learning rates.
        train: endless normalised batches.
        test: normalised batches.
        steps_per_epoch: training batches an epoch.
    """

    config: ConfigDict
    workdir: pathlib.Path
    model: ImageModel
    trainer: keras.Model
    schedule: WarmupDecay
    train: tf.data.Dataset
    test: tf.data.Dataset
    steps_per_epoch: int

    @property
    def description(self) -> str:
        """What will be trained, and where, in one sentence."""
        device = "GPU" if tf.config.list_physical_devices("GPU") else "CPU"
        return (
            f"Training {self.model.name} ({self.model.count_params():,} parameters) on {self.config.dataset}: "
            f"{self.config.num_epochs} epochs of {self.steps_per_epoch} steps of "
            f"{self.config.per_device_batch_size} images, on the {device}."
        )

    def execute(self) -> dict[str, Any]:
        """Trains, evaluates, writes; returns the content of metrics.json."""
        recorder = report.Recorder(self.schedule, self.steps_per_epoch * self.config.per_device_batch_size)
        self.trainer.fit(
            self.train,
            epochs=self.config.num_epochs,
            steps_per_epoch=self.steps_per_epoch,
            validation_data=self.test,
            callbacks=[recorder],
            shuffle=False,
            # A bar that moves needs a terminal; in a file or a pipe it would be a line for every step.
            verbose=1 if sys.stdout.isatty() else 2,
        )
        metrics = report.evaluate(self.model, self.test) | {
            "parameters": self.model.count_params(),
            "train_seconds": recorder.seconds,
            "epochs": self.config.num_epochs,
            "seed": self.config.seed,
        }
        self._write(recorder.rows, metrics)
        return metrics

    def _write(self, rows: list[dict[str, float]], metrics: dict[str, Any]) -> None:
        with atomic_output(self.workdir / run_directory.MODEL, overwrite=True) as partial:
            self.model.save(partial)
        report.write_history(self.workdir / run_directory.HISTORY, rows)
        report.write_curves(self.workdir / run_directory.CURVES, rows)
        run_directory.write_json(self.workdir / run_directory.METRICS, metrics)


def prepare(config: Config, workdir: str | pathlib.Path, overwrite: bool = False) -> Experiment:
    """Everything before the first step; whatever is wrong with the request is found here.

    Args:
        config: what to train, on what, how.
        workdir: directory of the run; from now on it belongs to this one.
        overwrite: replace the results of an earlier run in it.

    Raises:
        ValueError: a field has no meaning.
        FileExistsError: the directory holds the results of another run.
        PermissionError: the directory cannot be written to.
        ModuleNotFoundError: the package with the data is not installed.
    """
    fields, directory = resolve(config), pathlib.Path(workdir)
    run_directory.check(directory, fields, overwrite)
    keras.utils.set_random_seed(fields.seed)
    source = data.open_source(
        fields.dataset,
        train_split=fields.pp.get("train", "train"),
        test_split=fields.pp.get("test"),
        data_dir=fields.tfds_data_dir,
        shuffle_buffer=fields.shuffle_buffer_size,
    )
    published, usual_size = preprocessing_spec(fields.model_name)
    size = as_size(fields.model.get("image_size", fields.pp.get("crop", usual_size)))
    recipe = data.recipe_of(fields.to_dict(), source.info, size, published)
    train = data.train_batches(source, recipe, size, fields.per_device_batch_size, fields.seed)
    test = data.eval_batches(source, recipe, size, fields.per_device_batch_size)
    known = {"num_classes": source.info.num_classes, "image_size": size, "preprocessing": recipe.preprocessing}
    model = create_model(fields.model_name, **{**known, **fields.model.to_dict()})
    schedule = _schedule(fields, train.steps_per_epoch)
    experiment = Experiment(
        config=fields,
        workdir=directory,
        model=model,
        trainer=_trainer(model, fields, schedule),
        schedule=schedule,
        train=train,
        test=data.without_filling(test),
        steps_per_epoch=train.steps_per_epoch,
    )
    run_directory.claim(directory, fields)
    return experiment


def _schedule(config: ConfigDict, steps_per_epoch: int) -> WarmupDecay:
    """Learning rates of the configuration, which are those of a batch of 256."""
    scale = config.per_device_batch_size / 256
    return WarmupDecay(
        learning_rate=config.learning_rate * scale,
        steps_per_epoch=steps_per_epoch,
        num_epochs=config.num_epochs,
        schedule=config.learning_rate_schedule,
        warmup_epochs=config.warmup_epochs,
        min_learning_rate=config.min_learning_rate * scale,
    )


def _trainer(model: ImageModel, config: ConfigDict, schedule: WarmupDecay) -> keras.Model:
    """The layers of the model, compiled for classification."""
    trainer = keras.Model(model.inputs, model.outputs, name=model.name)
    optimizer = create_optimizer(model, config.optim, schedule, config.weight_decay, config.optim_wd_ignore)
    trainer.compile(optimizer, cross_entropy, metrics=[accuracy])
    return trainer
