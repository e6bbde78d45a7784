"""The training of a generator from its configuration to its results."""

import dataclasses
import pathlib
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from ml_collections import ConfigDict

from keras_nest import data, run_files
from keras_nest.files import atomic_output
from keras_nest.generative.callbacks import COLUMNS, GanLoop
from keras_nest.generative.discriminator import Discriminator
from keras_nest.generative.generator import NesTGenerator, create_generator
from keras_nest.generative.samples import grid, with_titles, write_picture
from keras_nest.generative.trainer import GanTrainer
from keras_nest.registry import check_fields
from keras_nest.run_files import GENERATOR
from keras_nest.specs import PreprocessingSpec
from keras_nest.training import workdir as directories
from keras_nest.training.checkpoints import Checkpoints
from keras_nest.training.config import (
    Config,
    as_dict,
    check_required,
    check_seed,
    check_values,
    complete,
)
from keras_nest.training.history import History
from keras_nest.training.plan import is_due
from keras_nest.training.stopping import Stopping
from keras_nest.training.strategies import create_strategy
from keras_nest.training.tasks import Task
from keras_nest.training_fields import GAN, check_kinds, defaults

# Pictures of samples on the way, and the last of them.
SAMPLES, LAST_SAMPLES = "samples", "samples.png"
# Pixels in [-1, 1], the whole image.
_PREPROCESSING = PreprocessingSpec((0.5,) * 3, (0.5,) * 3)
_ROWS, _COLUMNS = 10, 10


@dataclasses.dataclass(frozen=True)
class GanExperiment:
    """The training of a generator that can start, or go on; on one device.

    Attributes:
        config: complete configuration.
        config_json: content of config.json.
        workdir: where the results go.
        strategy: where it runs.
        info: the data set.
        trainer: compiled.
        batches: endless training batches.
    """

    config: ConfigDict
    config_json: dict[str, Any]
    workdir: pathlib.Path
    strategy: tf.distribute.Strategy
    info: data.DatasetInfo
    trainer: GanTrainer
    batches: data.TrainBatches

    @property
    def model(self) -> NesTGenerator:
        """The average of the generator, which is what is kept."""
        return self.trainer.average

    @property
    def description(self) -> str:
        """What will be trained, in one sentence."""
        generator, discriminator = self.trainer.generator, self.trainer.discriminator
        return (
            f"Training {generator.name} ({generator.count_params():,} parameters) against a discriminator of "
            f"{discriminator.count_params():,} on {self.config.dataset}: {self.config.total_steps:,} steps of "
            f"{self.config.batch} images."
        )

    def results(self) -> dict[str, Any] | None:
        """The content of metrics.json if this run is finished, else None."""
        return directories.results(self.workdir, GENERATOR)

    def report(self, metrics: dict[str, Any]) -> dict[str, Any]:
        """The content of metrics.json, as it is."""
        return metrics

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
        with directories.at_work(self.workdir, self.config_json):
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
        with Stopping(self.strategy, self.config.checkpoint_every_minutes) as stopping:
            images = self.info.num_train
            loop = GanLoop(self.config, history, checkpoints, self._show, first_step, images, stopping)
            loop.finish_row(self.trainer)
            if steps := self.config.total_steps - first_step:
                batches = self.batches.skip(first_step)
                self.trainer.fit(batches, steps_per_epoch=steps, callbacks=[loop], shuffle=False, verbose=0)
        return self._write(history)

    def _show(self, step: int, history: History) -> None:
        """A picture of samples for the directory and for TensorBoard."""
        picture = self._samples()
        write_picture(self.workdir / SAMPLES / f"step_{step:06d}.png", picture)
        history.show("samples", picture, step)

    def _samples(self) -> np.ndarray:
        """Samples of the average, the same noise in each picture; a column for each class, with its name."""
        columns = min(self.trainer.generator.num_classes or _COLUMNS, 2 * _COLUMNS)
        count = _ROWS * columns
        classes = np.arange(count) % columns if self.trainer.generator.num_classes else None
        picture = grid(self.trainer.average.sample(count, seed=0, class_index=classes), columns)
        return picture if classes is None else with_titles(picture, self.info.class_names[:columns])

    def _write(self, history: History) -> dict[str, Any]:
        generator = self.model
        with atomic_output(self.workdir / GENERATOR, overwrite=True) as partial:
            generator.save(partial)
        write_picture(self.workdir / LAST_SAMPLES, self._samples())
        directories.write_text(self.workdir / run_files.CLASSES, "\n".join(self.info.class_names) + "\n")
        last = history.rows[-1] if history.rows else {}
        metrics = {
            "parameters": generator.count_params(),
            "train_seconds": history.seconds,
            "steps": self.config.total_steps,
            "epochs": self.config.total_steps * self.config.batch / self.info.num_train,
            "seed": self.config.seed,
            **{name: value for name, value in last.items() if name.endswith(("loss", "score", "penalty"))},
        }
        directories.write_json(self.workdir / run_files.METRICS, metrics)
        return metrics


def prepare(
    config: ConfigDict,
    workdir: str | pathlib.Path,
    overwrite: bool = False,
    strategy: str | tf.distribute.Strategy = "auto",
    tpu: str | None = None,
) -> GanExperiment:
    """Everything before the first step; whatever is wrong with the request is found here.

    Args:
        config: as `resolve` gives it.
        workdir: directory of the run; nothing is written yet.
        overwrite: the results of an earlier run in it may be replaced.
        strategy: a name for `create_strategy`, or a strategy; of one device.
        tpu: as for `create_strategy`.

    Raises:
        ValueError: a field has no meaning, or there are several devices.
        FileExistsError: the directory holds the results of another run.
        FileNotFoundError: data, or checkpoints that were written, are not there.
        ModuleNotFoundError: the package with the data is not installed.
    """
    directory, config_json = pathlib.Path(workdir), directories.as_json(config)
    strategy = create_strategy(strategy, tpu) if isinstance(strategy, str) else strategy
    if strategy.num_replicas_in_sync > 1:
        raise ValueError("A generator is trained on one device; choose --strategy=one_device.")
    source = data.open_source(config.dataset, data_dir=config.tfds_data_dir, broken=config.broken or "refuse")
    directories.check(directory, config_json, overwrite, GENERATOR)
    if not overwrite:
        total, every = config.total_steps, config.checkpoint_every
        directories.check_progress(directory, total, lambda step: is_due(step, every, total), GENERATOR)
    with strategy.scope():
        trainer = _trainer(config, source.info)
    size = trainer.generator.config["image_size"]
    batches = data.train_batches(source, data.Recipe(_PREPROCESSING), size, config.batch, config.seed)
    return GanExperiment(config, config_json, directory, strategy, source.info, trainer, batches)


def resolve(config: Config) -> ConfigDict:
    """The complete configuration: what is given, and defaults for the rest; a locked copy.

    Raises:
        ValueError: an unknown field, a missing one, or a value that the field cannot have.
    """
    resolved = complete(as_dict(config), defaults(GAN))
    check_kinds(resolved, GAN)
    check_required(resolved, ("model_name", "dataset", "total_steps"))
    # Its train step does not scale losses.
    check_values(resolved, {"dtype_policy": ("float32", "mixed_bfloat16")})
    check_seed(resolved["seed"])
    return ConfigDict(resolved).lock()


TASK = Task(
    resolve,
    prepare,
    files=(GENERATOR, LAST_SAMPLES),
    folders=(SAMPLES,),
)


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
