"""A training from its first step, or from where it was broken off, to its results."""

import contextlib
import dataclasses
import functools
import logging
import pathlib
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from ml_collections import ConfigDict

from keras_nest import run_files
from keras_nest.data import DatasetInfo, Host, TrainBatches
from keras_nest.files import atomic_output, remove
from keras_nest.models.base import ImageModel
from keras_nest.places import as_place
from keras_nest.targets import REGRESSION
from keras_nest.training import pictures
from keras_nest.training import workdir as directories
from keras_nest.training.averages import copy_averages
from keras_nest.training.best import Best
from keras_nest.training.callbacks import Loop, Profiler
from keras_nest.training.checkpoints import Checkpoints
from keras_nest.training.evaluation import Evaluator, final_metrics
from keras_nest.training.history import History, Row, flat_fields
from keras_nest.training.jax_machines import readable
from keras_nest.training.measures import Measures, measures_of
from keras_nest.training.plan import Plan
from keras_nest.training.progress import ProgressBar
from keras_nest.training.stopping import Stopping
from keras_nest.training.strategies import Strategy, describe, distribute, is_chief
from keras_nest.training.trackers import Tracker, open_tracker
from keras_nest.training.trainer import Trainer
from keras_nest.training.units import in_units

_LOGGER = logging.getLogger(__name__)
# Those of NesT have 300; a recipe of large data on few images has thousands.
_MANY_EPOCHS = 400


@dataclasses.dataclass(frozen=True)
class Experiment:
    """A training that can start, or go on.

    Attributes:
        config: complete configuration.
        config_json: content of config.json.
        workdir: where the results go.
        strategy: where it runs.
        plan: steps and batches.
        info: the data set.
        trainer: compiled; its inner model is the one that is trained.
        evaluator: measures the model that is kept.
        model: the model that is kept: that one, or with `ema_decay` the average of its weights.
        train: host -> endless training batches.
        test: test batches of all replicas.
    """

    config: ConfigDict
    config_json: dict[str, Any]
    workdir: pathlib.Path
    strategy: Strategy
    plan: Plan
    info: DatasetInfo
    trainer: Trainer
    evaluator: Evaluator
    model: ImageModel
    train: Callable[[Host], TrainBatches]
    test: Callable[[Host], tf.data.Dataset]

    @property
    def description(self) -> str:
        """What will be trained, and where, in one sentence."""
        doing = "Evaluating" if self.config.eval_only else "Training"
        sentence = f"{doing} {self.model.name} ({self.model.count_params():,} parameters) on {self.config.dataset}"
        if self.config.eval_only:
            return f"{sentence}: {self.info.num_test:,} images, on {describe(self.strategy)}."
        epochs = self.plan.total_steps / self.plan.steps_per_epoch
        told = (
            f"{sentence}: {self.plan.total_steps:,} steps of {self.plan.batch_size} images, {epochs:.4g} epochs, on "
            f"{describe(self.strategy)}."
        )
        if epochs <= _MANY_EPOCHS:
            return told
        return (
            f"{told} Each of the {self.info.num_train:,} images comes up {epochs:,.0f} times, more often than in any "
            "published training; --config.num_epochs=N says how often."
        )

    def results(self) -> dict[str, Any] | None:
        """The content of metrics.json if this run is finished, else None."""
        return directories.results(self.workdir)

    def report(self, metrics: dict[str, Any]) -> dict[str, Any]:
        """The content of metrics.json in words."""
        trained = f"{metrics['train_seconds']:.0f} s for {metrics['steps']:,} steps"
        return {
            **_quality(metrics),
            "test loss": f"{metrics['loss']:.4f}",
            "evaluation": f"{metrics['eval_images_per_second']:,.0f} images/s",
            "parameters": metrics["parameters"],
            **({"training time": trained} if metrics["steps"] else {}),
        }

    @property
    def measures(self) -> Measures:
        """What is measured beside the loss."""
        return measures_of(self.info)

    def execute(self) -> dict[str, Any]:
        """Trains, evaluates, writes; returns the content of metrics.json.

        Raises:
            NotFiniteError: the loss became infinite or not a number.
            UnreadableError: all checkpoints are damaged.
            OtherModelError: they are of another model.
            InUseError: another training is at work in the directory.
            FileExistsError: another run has claimed it meanwhile.
            OSError: the disk takes no more; a checkpoint that was written is left as it was.
        """
        chief = is_chief(self.strategy)
        with directories.at_work(self.workdir, self.config_json) if chief else contextlib.nullcontext():
            return self._execute(chief)

    def _execute(self, chief: bool) -> dict[str, Any]:
        with self.strategy.scope():
            checkpoints = Checkpoints(self.workdir / run_files.CHECKPOINTS, self.trainer, chief)
            first_step = 0 if self.config.eval_only else checkpoints.restore()
        history = self._history(first_step, chief)
        if first_step and chief:
            print(f"Going on after step {first_step:,} of {self.plan.total_steps:,}.", flush=True)
        steps, best = first_step, self._best(chief)
        with contextlib.closing(history):
            is_over = self._is_over(first_step, history, best) and checkpoints.row(first_step) is None
            if not (self.config.eval_only or is_over):
                steps = self._fit(first_step, history, checkpoints, best)
        if best:
            best.restore()
        # The last step of a training ends with an evaluation.
        measured = (not best and self.evaluator.measured) or self._evaluate(copy=not best)
        metrics = final_metrics(measured, self.info.num_test) | {
            "parameters": self.model.count_params(),
            "train_seconds": history.seconds,
            "steps": steps,
            "epochs": steps / self.plan.steps_per_epoch,
            **({"best_step": best.record["step"]} if best else {}),
            "seed": self.config.seed,
        }
        # Reading variables takes all machines, and so does making them.
        confusion, model = self.evaluator.confusion, self.model_to_keep()
        if chief:
            self.write(model, history.rows, confusion, metrics)
            remove(self.workdir / run_files.CONVERTED)
        return metrics

    @property
    def _evaluated(self) -> str:
        """What the images are called that are evaluated during the training."""
        return "validation" if str(self.config.pp.get("test")).startswith("val") else "test"

    def _is_over(self, step: int, history: History, best: Best | None) -> bool:
        """Whether nothing is left to train after a step that ended with an evaluation."""
        is_late = bool(self.config.minutes) and _with_another_evaluation(history) > 60 * self.config.minutes
        return step == self.plan.total_steps or is_late or (best is not None and best.is_over(step))

    def _best(self, chief: bool) -> Best | None:
        """What keeps the best weights; None where those of the last step are kept."""
        if self.config.eval_only or not self.config.patience:
            return None
        steps = self.config.patience * self.plan.eval_every
        return Best(self.workdir / run_files.CHECKPOINTS, self.model, steps, chief, self.measures.score)

    def _history(self, first_step: int, chief: bool) -> History:
        if not chief or self.config.eval_only:
            return History(None, None, first_step)
        history = History(
            self.workdir / run_files.HISTORY,
            self.workdir / run_files.BOARD,
            first_step,
            self.measures.columns,
            self._tracker(),
        )
        if first_step == 0:
            history.note_configuration(self.config.to_dict())
        return history

    def _tracker(self) -> Tracker | None:
        name = self.config.log
        return open_tracker(name, self.workdir, dict(flat_fields(self.config.to_dict()))) if name else None

    def _fit(self, first_step: int, history: History, checkpoints: Checkpoints, best: Best | None) -> int:
        """Trains, and returns the number of updates after which it ended."""
        if best and not best.record:
            # What a training starts from may be better than all that comes of it.
            best.update(first_step, self._evaluate())
        batches = distribute(self.strategy, lambda host: self.train(host).skip(first_step))
        shown = is_chief(self.strategy)
        with (
            Stopping(self.strategy, self.config.checkpoint_every_minutes) as stopping,
            ProgressBar(
                first_step, self.plan.total_steps, shown, self._evaluated, self.plan.steps_per_epoch, self.measures
            ) as bar,
        ):
            is_over = functools.partial(self._is_over, history=history, best=best)
            loop = Loop(self.plan, history, bar, checkpoints, self._evaluate, first_step, best, is_over, stopping)
            loop.finish_row(self.trainer)
            if is_over(first_step):
                return loop.step
            callbacks: list[keras.callbacks.Callback] = [loop]
            if self.config.profile_steps:
                board = self.workdir / run_files.BOARD
                callbacks.append(Profiler(board, self.config.profile_steps, loop))
            if self.plan.steps_per_execution > 1:
                self.trainer.vary_steps()
            calls = self.plan.executions(first_step)
            self.trainer.fit(batches, steps_per_epoch=calls, callbacks=callbacks, shuffle=False, verbose=0)
        return loop.step

    def _evaluate(self, copy: bool = True) -> dict[str, float]:
        if copy and self.model is not self.trainer.model:
            copy_averages(self.trainer.model, self.trainer.optimizer, self.model)
        return self.evaluator(distribute(self.strategy, self.test))

    def write(self, model: ImageModel, rows: list[Row], confusion: np.ndarray | None, metrics: dict[str, Any]) -> None:
        """Writes the results: the model and what belongs to it, pictures, and last the metrics.

        Args:
            model: as its file has it.
            rows: of the history; without any there are no curves.
            confusion: integer (K, K), a row for each true class; None draws none.
            metrics: content of metrics.json.

        Raises:
            OSError: the disk does not take them.
        """
        if not self.config.eval_only:
            with atomic_output(self.workdir / run_files.MODEL, overwrite=True) as partial, readable(model.weights):
                model.save(partial)
            # A history that was lost has not even the last evaluation.
            if rows:
                pictures.write_curves(self.workdir / run_files.CURVES, rows, self._evaluated, self.measures)
            self._write_names()
        if confusion is not None and not self.info.has_captions:
            pictures.write_confusion(self.workdir / run_files.CONFUSION, confusion, self.info.class_names)
        directories.write_json(self.workdir / run_files.METRICS, metrics)
        self._summarize(metrics)

    def model_to_keep(self) -> ImageModel:
        """The model as its file has it."""
        return in_units(self.model, self.info.scale) if self.info.target.task == REGRESSION else self.model

    def _summarize(self, metrics: dict[str, Any]) -> None:
        """Hands the metrics to what takes the history; that it does not answer changes nothing of what is written."""
        try:
            tracker = self._tracker()
        except OSError as error:
            _LOGGER.warning("%s", error)
            return
        if tracker:
            numbers = {f"final/{name}": value for name, value in metrics.items() if isinstance(value, (int, float))}
            tracker.summarize(numbers)
            tracker.close()

    def _write_names(self) -> None:
        """What a user of the model needs to name its answers, or to ask it in words."""
        if not self.info.has_captions:
            directories.write_text(self.workdir / run_files.CLASSES, "\n".join(self.info.class_names) + "\n")
        if self.config.vocab:
            vocabulary = as_place(self.config.vocab)
            copy = self.workdir / f"{run_files.VOCABULARY}{vocabulary.suffix}"
            with atomic_output(copy, overwrite=True) as partial:
                partial.write_bytes(vocabulary.read_bytes())


def _with_another_evaluation(history: History) -> float:
    """Seconds that a training will have taken at its next evaluation, by those between the last two."""
    ends = [row["seconds"] for row in history.rows if "eval_loss" in row]
    return history.seconds + (ends[-1] - ends[-2] if len(ends) > 1 else 0.0)


def _quality(metrics: dict[str, Any]) -> dict[str, str]:
    """What of the metrics says how good a model is, in words."""
    images = f"{metrics['examples']:,} images"
    if "top1" in metrics:
        return {"top-1 accuracy": f"{metrics['top1']:.2%} of {images}", "top-5 accuracy": f"{metrics['top5']:.2%}"}
    if "mae" in metrics:
        return {"mean error": f"{metrics['mae']:.4g}, {images}", "R²": f"{metrics['r2']:.4f}"}
    return {"classes right": f"{metrics['accuracy']:.2%}, {images}", "mean average precision": f"{metrics['map']:.2%}"}
