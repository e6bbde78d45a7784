"""What happens at the steps of an adversarial training: rows, pictures, checkpoints."""

import math
from collections.abc import Callable
from fractions import Fraction

from ml_collections import ConfigDict

from keras_nest.console import console
from keras_nest.generative.trainer import METRICS
from keras_nest.training.callbacks import NotFiniteError, StepCallback
from keras_nest.training.checkpoints import Checkpoints
from keras_nest.training.history import History
from keras_nest.training.plan import is_due
from keras_nest.training.stopping import Stopping

COLUMNS = ("step", "epoch", *METRICS, "images_per_second", "seconds")


class GanLoop(StepCallback):
    """Follows `GanTrainer.fit` step by step.

    Each picture and each checkpoint has a row of its step, written before it.

    Args:
        config: total_steps, batch, and how often what happens.
        history: takes the rows.
        checkpoints: takes the states.
        show: (step, history) -> writes a picture of samples.
        first_step: updates before this start.
        images: in the data set.
        stopping: as for `StepCallback`.
    """

    def __init__(
        self,
        config: ConfigDict,
        history: History,
        checkpoints: Checkpoints,
        show: Callable[[int, History], None],
        first_step: int,
        images: int,
        stopping: Stopping | None = None,
    ) -> None:
        super().__init__(history, checkpoints, config.batch, Fraction(images, config.batch), first_step, stopping)
        self._config, self._show = config, show

    def logs_at(self, step: int) -> bool:
        """See `StepCallback.logs_at`."""
        fields = ("progress_every", "sample_every", "checkpoint_every")
        return any(self._is_due(step, field) for field in fields)

    def end_step(self, step: int) -> None:
        """See `StepCallback.end_step`; samples are shown, too."""
        if self.logs_at(step):
            self._end_row()
        if self._is_due(step, "sample_every"):
            self._show(step, self._history)
        if self._is_due(step, "checkpoint_every"):
            self._check_weights()
            self._save()

    def _is_due(self, step: int, field: str) -> bool:
        return is_due(step, self._config[field], self._config.total_steps)

    def _measure(self) -> dict[str, float]:
        measured = {name: float(value) for name, value in self.model.get_metrics_result().items()}
        if not all(map(math.isfinite, measured.values())):
            raise NotFiniteError(self._not_finite(self._step))
        return {**measured, "images_per_second": self._speed()}

    def _not_finite(self, step: int) -> str:
        return (
            f"Up to step {step} a loss or a weight became infinite or not a number; a lower learning rate or a larger "
            "r1_gamma may help."
        )

    def _end_row(self) -> None:
        """Writes what was measured since the last row."""
        row = self._write_row(self._means())
        console.print(
            f"step {self._step:,} of {self._config.total_steps:,}  generator {row['generator_loss']:.3f}  "
            f"discriminator {row['discriminator_loss']:.3f}  {row['images_per_second']:,.0f} images/s",
            highlight=False,
        )
        self._begin_row()
