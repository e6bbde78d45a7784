"""The training of a generator from its configuration to its results."""

import dataclasses
import functools
import pathlib
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from ml_collections import ConfigDict

from keras_nest import data, run_files
from keras_nest.files import atomic_output
from keras_nest.generative.discriminator import Discriminator
from keras_nest.generative.generator import NesTGenerator, create_generator
from keras_nest.generative.loop import COLUMNS, GanLoop, saves_at
from keras_nest.generative.samples import grid, write_picture
from keras_nest.generative.trainer import GanTrainer
from keras_nest.registry import check_fields
from keras_nest.specs import PreprocessingSpec
from keras_nest.training import run_directory
from keras_nest.training.checkpoints import Checkpoints
from keras_nest.training.config import resolve
from keras_nest.training.history import History
from keras_nest.training.strategies import create_strategy

# Pixels in [-1, 1], the whole image.
_PREPROCESSING = PreprocessingSpec((0.5,) * 3, (0.5,) * 3)
_ROWS, _COLUMNS = 10, 10


@dataclasses.dataclass(frozen=True)
class GanExperiment:
    """The training of a generator that can start, or go on; on one device.

    Attributes:
        config: complete configuration.
        stated: what config.json says.
        workdir: where the results go.
        info: the data set.
        trainer: compiled.
        batches: endless training batches.
    """

    config: ConfigDict
    stated: dict[str, Any]
    workdir: pathlib.Path
    info: data.DatasetInfo
    trainer: GanTrainer
    batches: data.TrainBatches

    @property
    def description(self) -> str:
        """What will be trained, in one sentence."""
        generator, discriminator = self.trainer.generator, self.trainer.discriminator
        return (
            f"Training {generator.name} ({generator.count_params():,} parameters) against a discriminator of "
            f"{discriminator.count_params():,} on {self.config.dataset}: {self.config.total_steps:,} steps of "
            f"{self.config.batch} images."
        )

    def execute(self) -> dict[str, Any]:
        """Trains and writes; returns the content of metrics.json.

        Raises:
            NotFiniteError: a loss became infinite or not a number.
            UnreadableError: all checkpoints are damaged.
            OtherModelError: they are of other networks.
            InUseError: another training is at work in the directory.
            FileExistsError: another run has claimed it meanwhile.
            OSError: the disk takes no more; a checkpoint that was written is left as it was.
        """
        with run_directory.at_work(self.workdir, self.stated):
            return self._execute()

    def _execute(self) -> dict[str, Any]:
        checkpoints = Checkpoints(self.workdir / run_files.CHECKPOINTS, self.trainer)
        first_step = checkpoints.restore()
        board = self.workdir / run_files.BOARD
        history = History(self.workdir / run_files.HISTORY, board, first_step, COLUMNS)
        if first_step == 0:
            history.note_configuration(self.config.to_dict())
        else:
            print(f"Going on after step {first_step:,} of {self.config.total_steps:,}.", flush=True)
        if steps := self.config.total_steps - first_step:
            loop = GanLoop(self.config, history, checkpoints, self._show, first_step, self.info.num_train)
            batches = self.batches.skip(first_step)
            self.trainer.fit(batches, steps_per_epoch=steps, callbacks=[loop], shuffle=False, verbose=0)
        return self._write(history)

    def _show(self, step: int, history: History) -> None:
        """A picture of samples for the directory and for TensorBoard."""
        picture = self._samples()
        write_picture(self.workdir / run_files.SAMPLES / f"step_{step:06d}.png", picture)
        history.show("samples", picture, step)

    def _samples(self) -> np.ndarray:
        """Samples of the average, the same noise in each picture; a column for each class."""
        columns = min(self.trainer.generator.num_classes or _COLUMNS, 2 * _COLUMNS)
        count = _ROWS * columns
        classes = np.arange(count) % columns if self.trainer.generator.num_classes else None
        return grid(self.trainer.average.sample(count, seed=0, class_index=classes), columns)

    def _write(self, history: History) -> dict[str, Any]:
        generator = self.trainer.average
        with atomic_output(self.workdir / run_files.GENERATOR, overwrite=True) as partial:
            generator.save(partial)
        write_picture(self.workdir / run_files.LAST_SAMPLES, self._samples())
        run_directory.write_text(self.workdir / run_files.CLASSES, "\n".join(self.info.class_names) + "\n")
        last = history.rows[-1] if history.rows else {}
        metrics = {
            "parameters": generator.count_params(),
            "train_seconds": history.seconds,
            "steps": self.config.total_steps,
            "epochs": self.config.total_steps * self.config.batch / self.info.num_train,
            "seed": self.config.seed,
            **{name: value for name, value in last.items() if name.endswith(("loss", "score", "penalty"))},
        }
        run_directory.write_json(self.workdir / run_files.METRICS, metrics)
        return metrics


def prepare_gan(
    config: ConfigDict | Mapping[str, Any],
    workdir: str | pathlib.Path,
    overwrite: bool = False,
    strategy: str | tf.distribute.Strategy = "auto",
    tpu: str | None = None,
) -> GanExperiment:
    """Everything before the first step; whatever is wrong with the request is found here.

    Args:
        config: fields of `keras_nest.training.config.GAN`.
        workdir: directory of the run; from now on it belongs to this one.
        overwrite: start anew, and replace the results of an earlier run in it.
        strategy: a name for `create_strategy`, or a strategy; of one device.
        tpu: as for `create_strategy`.

    Raises:
        ValueError: a field has no meaning, or there are several devices.
        FileExistsError: the directory holds the results of another run.
        InUseError: another training is at work there.
        FileNotFoundError: data, or checkpoints that were written, are not there.
        PermissionError: the directory cannot be written to.
        ModuleNotFoundError: the package with the data is not installed.
    """
    fields, directory = resolve(config), pathlib.Path(workdir)
    strategy = create_strategy(strategy, tpu) if isinstance(strategy, str) else strategy
    if strategy.num_replicas_in_sync > 1:
        raise ValueError("A generator is trained on one device; choose --strategy=one_device.")
    source = data.open_source(fields.dataset, data_dir=fields.tfds_data_dir)
    stated = run_directory.as_json(fields)
    run_directory.check(directory, stated, overwrite)
    if not overwrite:
        run_directory.check_progress(directory, fields.total_steps, functools.partial(saves_at, fields))
    with strategy.scope():
        trainer = _trainer(fields, source.info)
    size = trainer.generator.config["image_size"]
    batches = data.train_batches(source, data.Recipe(_PREPROCESSING), size, fields.batch, fields.seed)
    run_directory.claim(directory, stated, overwrite)
    return GanExperiment(fields, stated, directory, source.info, trainer, batches)


def _trainer(config: ConfigDict, info: data.DatasetInfo) -> GanTrainer:
    """The two networks, compiled."""
    model, against = config.model.to_dict(), config.discriminator.to_dict()
    check_fields(NesTGenerator, model)
    check_fields(Discriminator, against)
    keras.utils.set_random_seed(config.seed)
    generator = create_generator(config.model_name, num_classes=info.num_classes, dtype=config.dtype_policy, **model)
    shared = {field: generator.config[field] for field in ("image_size", "num_classes")}
    discriminator = Discriminator(**shared, in_channels=generator.config["out_channels"], **against)
    trainer = GanTrainer(
        generator,
        discriminator,
        **{field: config[field] for field in ("r1_gamma", "r1_every", "ema_decay", "max_shift", "seed")},
    )
    fields = ("learning_rate", "discriminator_learning_rate", "beta_1", "beta_2", "jit_compile")
    trainer.compile(**{field: config[field] for field in fields})
    return trainer
