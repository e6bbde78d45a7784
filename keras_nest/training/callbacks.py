"""What happens at the steps of a training: rows, evaluations, checkpoints, a profile."""

import math
import pathlib
import time
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction

import keras
import tensorflow as tf
from keras import ops

from keras_nest.training.best import Best
from keras_nest.training.checkpoints import Checkpoints
from keras_nest.training.history import History, Row
from keras_nest.training.plan import Plan
from keras_nest.training.progress import ProgressBar
from keras_nest.training.stopping import Cut, Stopping

# The bar reads the metrics that often in a run; each time the host waits for the device.
_LOOKS = 1000


class NotFiniteError(ArithmeticError):
    """The loss or its gradient became infinite or not a number."""


class StepCallback(keras.callbacks.Callback):
    """Counts the steps of a `fit` whose one epoch is the whole training, and times and writes the rows of its history.

    A checkpoint inside a row, which comes when the training is asked to end or by the clock, takes along what was
    measured of the row so far; the start that goes on from it puts the row together.

    Args:
        history: takes the rows.
        checkpoints: takes the states.
        batch_size: images a step.
        steps_per_epoch: updates in which each training image comes up once; may be fractional.
        first_step: updates before this start.
        stopping: says when to end, and when a checkpoint is due by the clock; None never does.
    """

    def __init__(
        self,
        history: History,
        checkpoints: Checkpoints,
        batch_size: int,
        steps_per_epoch: float | Fraction,
        first_step: int = 0,
        stopping: Stopping | None = None,
    ) -> None:
        super().__init__()
        self._history, self._batch_size, self._steps_per_epoch = history, batch_size, steps_per_epoch
        self._checkpoints, self._stopping = checkpoints, stopping
        self._step = self._first_step = self._row_start = self._timed_from = first_step
        self._begun = checkpoints.row(first_step) if first_step else None
        self._saved: int | None = None
        self._is_first = True

    @property
    def step(self) -> int:
        """Updates so far."""
        return self._step

    def finish_row(self, model: keras.Model) -> None:
        """Ends the row of the first step, where the start before was stopped between that step and its row.

        Args:
            model: that of the `fit` that follows.
        """
        if self._begun and self.logs_at(self._first_step):
            self.set_model(model)
            self.on_train_begin()
            self.end_step(self._first_step)
            self._checkpoints.drop_row(self._first_step)

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
        """Starts the clocks: of the run, which counts what earlier starts took, and of the row."""
        self._run_start = time.perf_counter() - (self._begun["seconds"] if self._begun else self._history.seconds)
        self._start_clock()

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        """Counts the steps of a call; does what is due after them."""
        self._step = self.call_end()
        if self._is_first and not self.logs_at(self._step):
            # What comes first was compiled too; the speed is that of the others.
            self._start_clock()
        self._is_first = False
        stop, save = self._stopping.due() if self._stopping else (False, False)
        if self._stopping and stop:
            self._save_unfinished(self._means())
            raise self._stopping.stopped()
        self.end_step(self._step)
        if save and self._saved != self._step:
            self._save_unfinished(None if self._step == self._row_start else self._means())

    def call_end(self) -> int:
        """The last step of the call of the train function that comes next."""
        return self._step + 1

    def logs_at(self, step: int) -> bool:
        """Whether a row of the history ends with a step."""
        raise NotImplementedError

    def end_step(self, step: int) -> None:
        """Does what is due after a step."""
        raise NotImplementedError

    def _measure(self) -> dict[str, float]:
        """What was measured since the last row, or by this start.

        Raises:
            NotFiniteError: something is infinite or not a number.
        """
        raise NotImplementedError

    def _not_finite(self, step: int) -> str:
        """What to say when something is infinite or not a number."""
        raise NotImplementedError

    def _means(self) -> dict[str, float]:
        """What was measured since the last row, where this start began inside the row with what was known before."""
        if not self._begun:
            return self._measure()
        known, before = self._begun["means"], self._first_step - self._begun["start"]
        if self._step == self._first_step:
            return known
        share = before / (self._step - self._begun["start"])
        return {name: share * known[name] + (1 - share) * value for name, value in self._measure().items()}

    def _save(self, means: Mapping[str, float] | None = None) -> None:
        """Writes a checkpoint.

        Args:
            means: of a row that has not ended.
        """
        start = self._begun["start"] if self._begun else self._row_start
        seconds = time.perf_counter() - self._run_start
        row = None if means is None else {"start": start, "seconds": seconds, "means": dict(means)}
        self._checkpoints.save(self._step, row)
        self._saved = self._step
        if self._stopping:
            self._stopping.note_saved(self._step)

    def _save_unfinished(self, means: Mapping[str, float] | None) -> None:
        """Writes a checkpoint that the plan does not have, as `_save`."""
        self._check_weights()
        self._save(means)

    def _check_weights(self) -> None:
        """Refuses to keep weights that are of no use; a finite gradient can still carry them too far.

        Raises:
            NotFiniteError: one is infinite or not a number.
        """
        weights = self.model.trainable_variables
        if not all(ops.all(ops.isfinite(weight.value)) for weight in weights):
            raise NotFiniteError(self._not_finite(self._step))

    def _speed(self) -> float:
        """Images a second since the last row."""
        return (self._step - self._timed_from) * self._batch_size / (time.perf_counter() - self._row_time)

    def _write_row(self, measured: Mapping[str, float]) -> Row:
        """Adds what was measured to the history, with step, epoch and time."""
        row: Row = {"step": self._step, "epoch": float(self._step / self._steps_per_epoch), **measured}
        row["seconds"] = time.perf_counter() - self._run_start
        self._history.append(row)
        return row

    def _begin_row(self) -> None:
        """Measures from now on."""
        self.model.reset_metrics()
        self._row_start, self._begun = self._step, None
        self._start_clock()

    def _start_clock(self) -> None:
        """What is timed begins now."""
        self._timed_from, self._row_time = self._step, time.perf_counter()


class Loop(StepCallback):
    """Follows `Trainer.fit` step by step.

    A row is written before the checkpoint of its step, and both lie before the next row begins: a training that goes on
    from a checkpoint has every row up to it, and measures the next one whole.

    Args:
        plan: what happens when.
        history: takes the rows.
        bar: shows them.
        checkpoints: takes the states.
        evaluate: measures the model as it is: loss, and what `keras_nest.training.measures` names.
        first_step: updates before this start.
        best: keeps the best weights, if any.
        is_over: step of an evaluation -> whether the training ends with it; None goes on to the last.
        stopping: as for `StepCallback`.
    """

    def __init__(
        self,
        plan: Plan,
        history: History,
        bar: ProgressBar,
        checkpoints: Checkpoints,
        evaluate: Callable[[], dict[str, float]],
        first_step: int = 0,
        best: Best | None = None,
        is_over: Callable[[int], bool] | None = None,
        stopping: Stopping | None = None,
    ) -> None:
        super().__init__(history, checkpoints, plan.batch_size, plan.steps_per_epoch, first_step, stopping)
        self._plan, self._bar, self._best, self._is_over = plan, bar, best, is_over
        self._evaluate = evaluate
        self._look_every = max(1, plan.total_steps // _LOOKS)
        self._looked = first_step // self._look_every

    def call_end(self) -> int:
        """See `StepCallback.call_end`; what is due ends a call."""
        return self._plan.execution_end(self._step)

    def on_train_batch_begin(self, batch: int, logs: dict[str, float] | None = None) -> None:
        """Says how many steps come at once."""
        self.model.set_steps_of_call(self.call_end() - self._step)

    def logs_at(self, step: int) -> bool:
        """See `StepCallback.logs_at`."""
        return self._plan.logs_at(step)

    def end_step(self, step: int) -> None:
        """See `StepCallback.end_step`; the bar moves, and ends of rows are measured."""
        self._bar.advance(step)
        if self.logs_at(step):
            self._end_row()
        elif step // self._look_every > self._looked and step > self._timed_from:
            self._measure()
        self._looked = step // self._look_every

    def _start_clock(self) -> None:
        super()._start_clock()
        self._waited_before = self.model.waited or 0.0

    def _measure(self) -> dict[str, float]:
        """As in `StepCallback`; the bar shows it."""
        measured = {name: float(value) for name, value in self.model.get_metrics_result().items()}
        grad_norm = self.model.watch.norm
        if not (math.isfinite(measured["loss"]) and math.isfinite(grad_norm)):
            raise NotFiniteError(self._not_finite(self._row_start + self.model.watch.finite_steps + 1))
        speed = self._speed()
        self._bar.update(measured["loss"], measured[self._bar.quantity], speed, self._waiting())
        return {**measured, "grad_norm": grad_norm, "images_per_second": speed}

    def _waiting(self) -> float | None:
        """Share of the time since the last row in which there were no images to train with; None if not known."""
        waited = self.model.waited
        seconds = time.perf_counter() - self._row_time
        return None if waited is None else min(1.0, (waited - self._waited_before) / seconds)

    def _end_row(self) -> None:
        measured, waiting = self._means(), self._waiting()
        if self._plan.saves_at(self._step):
            self._check_weights()
        evaluated = self._evaluated(measured)
        if self._best and evaluated:
            self._best.update(self._step, evaluated)
        measured = {**measured, "learning_rate": float(self._plan.schedule.at(self._step))}
        measured |= {f"eval_{name}": value for name, value in evaluated.items() if name != "seconds"}
        self._bar.log_row(self._write_row(measured), waiting)
        if self._plan.saves_at(self._step):
            self._save()
        self._begin_row()
        if evaluated and self._is_over and self._is_over(self._step):
            # Of the trainer, which Keras asks after each batch.
            self.model.stop_training = True

    def _evaluated(self, measured: Mapping[str, float]) -> dict[str, float]:
        """The evaluation that is due, which another start begins anew if a signal comes meanwhile."""
        if not self._plan.evaluates_at(self._step):
            return {}
        if self._stopping is None:
            return self._evaluate()
        try:
            with self._stopping.cutting():
                return self._evaluate()
        except Cut:
            self._save_unfinished(measured)
            raise self._stopping.stopped() from None

    def _not_finite(self, step: int) -> str:
        newest = self._checkpoints.newest
        good = f"The last good checkpoint is {newest}" if newest else "There is no checkpoint before it"
        return (
            f"At step {step} the loss, its gradient or a weight was infinite or not a number. {good}; a lower learning "
            "rate, a longer warm-up or clipping may help."
        )


class Profiler(keras.callbacks.Callback):
    """Records what host and devices do from one step to another; TensorBoard's profile plugin shows it.

    `keras.callbacks.TensorBoard(profile_batch=…)` records the same, but also writes scalars of its own for each epoch,
    under a run "train" beside ours, and only logs what goes wrong.

    Args:
        directory: where TensorBoard looks.
        steps: first and last step, counted from 1.
        loop: counts the steps, and hears of each call before this.
    """

    def __init__(self, directory: pathlib.Path, steps: Sequence[int], loop: StepCallback) -> None:
        super().__init__()
        self._directory, (self._first, self._last) = str(directory), steps
        self._loop, self._records = loop, False

    def on_train_batch_begin(self, batch: int, logs: dict[str, float] | None = None) -> None:
        """Starts the profiler before its first step."""
        if self._loop.step + 1 == self._first:
            tf.profiler.experimental.start(self._directory)
            self._records = True

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        """Stops it after its last."""
        if self._loop.step == self._last:
            self._stop()

    def on_train_end(self, logs: dict[str, float] | None = None) -> None:
        """Stops it, if the training ended before that."""
        self._stop()

    def _stop(self) -> None:
        if self._records:
            tf.profiler.experimental.stop()
            self._records = False
