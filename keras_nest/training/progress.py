"""What a user sees while a model trains."""

import time
from collections.abc import Iterable

from rich.console import RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Column
from rich.text import Text

from keras_nest.console import console
from keras_nest.training.history import Row
from keras_nest.training.measures import OF_CLASSES, Measures

# In a file there is a line an epoch, and where epochs are long one in so many seconds.
_SECONDS_A_LINE = 60


class _Bar(Progress):
    """A bar, and above it a line of words."""

    words = "starting"

    def get_renderables(self) -> Iterable[RenderableType]:
        yield Text(self.words, no_wrap=True, overflow="ellipsis")
        yield self.make_tasks_table(self.tasks)


class ProgressBar:
    """A bar with epoch, loss, accuracy, images/s, the share of the time that is waited for data, steps and time left.

    Where there is no terminal it is a line for each epoch, or each minute of a long one, and each evaluation.

    Args:
        first_step: updates before this start.
        total_steps: updates in all.
        shown: whether this process shows anything.
        evaluated: what the images are called that are evaluated.
        steps_per_epoch: updates of an epoch; may be fractional.
        measures: what is shown beside the loss.
    """

    def __init__(
        self,
        first_step: int,
        total_steps: int,
        shown: bool = True,
        evaluated: str = "test",
        steps_per_epoch: float = 1.0,
        measures: Measures = OF_CLASSES,
    ) -> None:
        # The bar is as wide as the numbers leave room for.
        bar = BarColumn(bar_width=None, table_column=Column(ratio=1))
        columns = (bar, TextColumn("step"), MofNCompleteColumn(), TimeRemainingColumn(), TextColumn("left"))
        self._shown, self._first, self._total, self._evaluated = shown, first_step, total_steps, evaluated
        self._steps_per_epoch, self._step, self._measures = steps_per_epoch, first_step, measures
        self._start = self._last_line = time.perf_counter()
        self._last_epoch = first_step / steps_per_epoch
        self._bar = _Bar(*columns, console=console, expand=True, disable=not (shown and console.is_terminal))
        self._task = self._bar.add_task("", total=total_steps, completed=first_step)

    @property
    def quantity(self) -> str:
        """Name of what is shown beside the loss."""
        return self._measures.quantity

    def __enter__(self) -> "ProgressBar":
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def advance(self, step: int) -> None:
        """Moves the bar."""
        self._step = step
        self._bar.update(self._task, completed=step)

    def update(self, loss: float, quantity: float, images_per_second: float, waiting: float | None = None) -> None:
        """Changes what stands above the bar.

        Args:
            loss: since the last row, as the next two.
            quantity: the accuracy, or what else is measured.
            images_per_second: of training alone.
            waiting: share of the time in which there were no images to train with; None if it is not known.
        """
        epoch, epochs = (steps / self._steps_per_epoch for steps in (self._step, self._total))
        words = f"epoch {epoch:.1f}/{epochs:.4g}  loss {loss:.4f}  {self._quantity(quantity)}"
        words += f"  {images_per_second:,.0f} images/s"
        self._bar.words = words if waiting is None else f"{words}  waiting {waiting:.0%}"

    def log_row(self, row: Row, waiting: float | None = None) -> None:
        """Prints a row of the history: on a terminal above the bar, if it has an evaluation; in a file as said above.

        Args:
            row: of the history.
            waiting: as for `update`.
        """
        if self._shown and (self._evaluation in row or (not console.is_terminal and self._is_due(row))):
            self._last_line, self._last_epoch = time.perf_counter(), row["epoch"]
            console.print(self._line(row, waiting), highlight=False, soft_wrap=True)

    @property
    def _evaluation(self) -> str:
        return f"eval_{self._measures.quantity}"

    def _quantity(self, value: float) -> str:
        return f"{self._measures.title} {self._measures.shown(value)}"

    def _is_due(self, row: Row) -> bool:
        an_epoch = int(row["epoch"]) > int(self._last_epoch)
        return an_epoch or time.perf_counter() - self._last_line >= _SECONDS_A_LINE

    def _line(self, row: Row, waiting: float | None) -> str:
        step = int(row["step"])
        left = (time.perf_counter() - self._start) / max(1, step - self._first) * (self._total - step)
        line = f"step {step:,} of {self._total:,}  epoch {row['epoch']:.4g}  loss {row['loss']:.4f}"
        line += f"  {self._quantity(row[self._measures.quantity])}"
        if self._evaluation in row:
            line += f"  {self._evaluated} {self._measures.shown(row[self._evaluation])}"
        line += f"  {row['images_per_second']:,.0f} images/s"
        if waiting is not None:
            line += f"  waiting {waiting:.0%}"
        return f"{line}  {_duration(left)} left"


def _duration(seconds: float) -> str:
    """Hours, minutes and seconds: "1:02:03" or "2:03"."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
