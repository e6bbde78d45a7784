"""What happens at the steps of a training: rows, evaluations, checkpoints."""

import math
import time
from collections.abc import Callable

import keras
import tensorflow as tf

from keras_nest.training.checkpoints import Checkpoints
from keras_nest.training.history import History, Row
from keras_nest.training.plan import Plan
from keras_nest.training.progress import ProgressBar

# The bar reads the metrics that often in a run; each time the host waits for the device.
_LOOKS = 1000


class NotFiniteError(ArithmeticError):
    """The loss or its gradient became infinite or not a number."""


class Loop(keras.callbacks.Callback):
    """Follows `Trainer.fit` over one epoch that is the whole training, step by step.

    A row is written before the checkpoint of its step, and both lie before the next row begins: a training that goes on
    from a checkpoint has every row up to it, and measures the next one whole.

    Args:
        plan: what happens when.
        history: takes the rows.
        bar: is told.
        checkpoints: takes the states.
        evaluate: measures the model as it is: loss, accuracy, top5.
        first_step: updates before this start.
    """

    def __init__(
        self,
        plan: Plan,
        history: History,
        bar: ProgressBar,
        checkpoints: Checkpoints,
        evaluate: Callable[[], dict[str, float]],
        first_step: int = 0,
    ) -> None:
        super().__init__()
        self._plan, self._history, self._bar = plan, history, bar
        self._checkpoints, self._evaluate = checkpoints, evaluate
        self._step = self._row_start = self._timed_from = first_step
        self._is_first = True
        self._look_every = max(1, plan.total_steps // _LOOKS)

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
        self._run_start = time.perf_counter() - self._history.seconds
        self._row_time = time.perf_counter()

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        self._step += 1
        self._bar.advance(self._step)
        if self._is_first and not self._plan.logs_at(self._step):
            # The first step was compiled too; the speed is that of the others.
            self._timed_from, self._row_time = self._step, time.perf_counter()
        self._is_first = False
        if self._plan.logs_at(self._step):
            self._end_row()
        elif self._step % self._look_every == 0 and self._step > self._timed_from:
            self._look()

    def _look(self) -> Row:
        """What was measured since the last row.

        Raises:
            NotFiniteError: something is infinite or not a number.
        """
        measured = {name: float(value) for name, value in self.model.get_metrics_result().items()}
        grad_norm = self.model.watch.norm
        if not (math.isfinite(measured["loss"]) and math.isfinite(grad_norm)):
            raise NotFiniteError(self._complaint(self._row_start + self.model.watch.finite_steps + 1))
        images = (self._step - self._timed_from) * self._plan.batch_size
        speed = images / (time.perf_counter() - self._row_time)
        self._bar.tell(measured["loss"], measured["accuracy"], speed)
        return {**measured, "grad_norm": grad_norm, "images_per_second": speed}

    def _end_row(self) -> None:
        row = {"step": self._step, "epoch": self._step / self._plan.steps_per_epoch, **self._look()}
        if self._plan.saves_at(self._step) and not _are_finite(self.model.trainable_variables):
            raise NotFiniteError(self._complaint(self._step))
        row["learning_rate"] = float(self._plan.schedule.at(self._step))
        if self._plan.evaluates_at(self._step):
            row |= {f"eval_{name}": value for name, value in self._evaluate().items() if name != "seconds"}
        row["seconds"] = time.perf_counter() - self._run_start
        self._history.append(row)
        self._bar.note(row)
        if self._plan.saves_at(self._step):
            self._checkpoints.save(self._step)
        self.model.reset_metrics()
        self._row_start = self._timed_from = self._step
        self._row_time = time.perf_counter()

    def _complaint(self, step: int) -> str:
        newest = self._checkpoints.newest
        good = f"The last good checkpoint is {newest}" if newest else "There is no checkpoint before it"
        return (
            f"At step {step} the loss, its gradient or a weight was infinite or not a number. {good}; a lower learning "
            "rate, a longer warm-up or clipping may help."
        )


def _are_finite(variables: list[keras.Variable]) -> bool:
    """Whether weights are; a finite gradient can still carry them too far."""
    return bool(tf.reduce_all([tf.reduce_all(tf.math.is_finite(variable.value)) for variable in variables]))
