"""A training from its configuration to its results: what `train_keras.py` runs."""

import dataclasses
import pathlib
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf
from ml_collections import ConfigDict

from keras_nest import data
from keras_nest.files import atomic_output
from keras_nest.models.base import ImageModel
from keras_nest.preprocessing import preprocessor
from keras_nest.registry import create_model
from keras_nest.training import command_line, report, run_directory
from keras_nest.training.config import resolve
from keras_nest.training.optimizers import create_optimizer
from keras_nest.training.schedules import WarmupDecay

# What a user can cause and repair: told in one sentence.
_USER_ERRORS = (ValueError, OSError, ImportError)


Config = ConfigDict | Mapping[str, Any]
"""Fields of `keras_nest.training.config.DEFAULTS`."""


def main(config: Config, workdir: str | pathlib.Path, overwrite: bool = False) -> dict[str, Any]:
    """Trains a model and writes DIR/model.keras, history.csv, curves.png, metrics.json and config.json.

    The model is that of the last epoch; none is chosen by its test accuracy.

    Args:
        config: what to train, on what, how.
        workdir: directory of the run.
        overwrite: replace the results of an earlier run in it.

    Returns:
        The content of metrics.json: top1, top5 (shares), loss, examples, parameters, train_seconds, epochs, seed.

    Raises:
        ValueError: a field has no meaning.
        FileExistsError: the directory holds the results of another run.
        ModuleNotFoundError: the package with the data is not installed.
    """
    return prepare(config, workdir, overwrite).execute()


def run(argv: Sequence[str] | None = None) -> None:
    """The command line; ends the process with code 2 and one sentence when it is used wrongly.

    Args:
        argv: program name and arguments; None takes those of the process.
    """
    try:
        arguments = command_line.parse(sys.argv if argv is None else argv)
        prepared = prepare(arguments.config, arguments.workdir, arguments.overwrite)
    except _USER_ERRORS as error:
        command_line.fail(error)
    command_line.show_result(prepared.execute(), prepared.workdir)


@dataclasses.dataclass(frozen=True)
class Run:
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

    def execute(self) -> dict[str, Any]:
        """Trains, evaluates, writes; returns the content of metrics.json."""
        run_directory.claim(self.workdir, self.config)
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


def prepare(config: Config, path: str | pathlib.Path, overwrite: bool = False) -> Run:
    """Everything before the first step; whatever is wrong with the request is found here. Arguments as for `main`."""
    config, path = resolve(config), pathlib.Path(path)
    run_directory.check(path, config, overwrite)
    keras.utils.set_random_seed(config.seed)
    train, test, info = data.load(config.dataset)
    model = create_model(config.model_name, **{"num_classes": info.num_classes, **config.model.to_dict()})
    batch_size = config.per_device_batch_size
    steps = data.steps_per_epoch(train, batch_size)
    schedule = _schedule(config, steps)
    augment = data.augmentation(config.augment)
    return Run(
        config=config,
        workdir=path,
        model=model,
        trainer=_trainer(model, config, schedule),
        schedule=schedule,
        train=_normalised(data.train_batches(train, batch_size, config.seed, augment), model),
        test=_normalised(data.test_batches(test, batch_size), model),
        steps_per_epoch=steps,
    )


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
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    trainer.compile(optimizer, loss, metrics=["accuracy"])
    return trainer


def _normalised(batches: tf.data.Dataset, model: ImageModel) -> tf.data.Dataset:
    """Batches as the model takes them, by its own preprocessing."""
    preprocess = preprocessor(model)
    return batches.map(lambda images, labels: (preprocess(images), labels), tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)
