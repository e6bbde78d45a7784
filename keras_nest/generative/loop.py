"""What happens at the steps of an adversarial training: rows, pictures, checkpoints."""

import math
import time
from collections.abc import Callable

import keras
from ml_collections import ConfigDict

from keras_nest.console import console
from keras_nest.generative.trainer import METRICS
from keras_nest.training.checkpoints import Checkpoints
from keras_nest.training.history import History
from keras_nest.training.loop import NotFiniteError

COLUMNS = ("step", "epoch", *METRICS, "images_per_second", "seconds")


class GanLoop(keras.callbacks.Callback):
    """Follows `GanTrainer.fit` over one epoch that is the whole training.

    Each picture and each checkpoint has a row of its step, written before it.

    Args:
        config: total_steps, batch, and how often what happens.
        history: takes the rows.
        checkpoints: takes the states.
        show: (step, history) -> writes a picture of samples.
        first_step: updates before this start.
        images: in the data set.
    """

    def __init__(
        self,
        config: ConfigDict,
        history: History,
        checkpoints: Checkpoints,
        show: Callable[[int, History], None],
        first_step: int,
        images: int,
    ) -> None:
        super().__init__()
        self._config, self._history, self._checkpoints = config, history, checkpoints
        self._show, self._images = show, images
        self._step = self._row_start = first_step

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
        self._run_start = time.perf_counter() - self._history.seconds
        self._row_time = time.perf_counter()

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        self._step += 1
        shows, saves = self._is_due(self._config.sample_every), saves_at(self._config, self._step)
        if shows or saves or self._is_due(self._config.progress_every):
            self._end_row()
        if shows:
            self._show(self._step, self._history)
        if saves:
            self._checkpoints.save(self._step)

    def _is_due(self, every: int) -> bool:
        return _is_due(self._config, self._step, every)

    def _end_row(self) -> None:
        """Writes what was measured since the last row.

        Raises:
            NotFiniteError: something is infinite or not a number.
        """
        measured = {name: float(value) for name, value in self.model.get_metrics_result().items()}
        if not all(map(math.isfinite, measured.values())):
            raise NotFiniteError(
                f"Up to step {self._step} a loss became infinite or not a number; a lower learning rate or a larger "
                "r1_gamma may help."
            )
        now = time.perf_counter()
        speed = (self._step - self._row_start) * self._config.batch / (now - self._row_time)
        epoch = self._step * self._config.batch / self._images
        row = {"step": self._step, "epoch": epoch, **measured, "images_per_second": speed}
        self._history.append({**row, "seconds": now - self._run_start})
        console.print(
            f"step {self._step:,} of {self._config.total_steps:,}  generator {measured['generator_loss']:.3f}  "
            f"discriminator {measured['discriminator_loss']:.3f}  {speed:,.0f} images/s",
            highlight=False,
        )
        self.model.reset_metrics()
        self._row_start, self._row_time = self._step, time.perf_counter()


def saves_at(config: ConfigDict, step: int) -> bool:
    """Whether a checkpoint is written after a step."""
    return _is_due(config, step, config.checkpoint_every)


def _is_due(config: ConfigDict, step: int, every: int) -> bool:
    return step == config.total_steps or (every > 0 and step % every == 0)
