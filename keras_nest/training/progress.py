"""What a user sees while a model trains."""

import time

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Column

from keras_nest.console import console
from keras_nest.training.history import Row


class ProgressBar:
    """A bar with loss, accuracy, images/s and time left; where there is no terminal, a line for each row.

    Args:
        first_step: updates before this start.
        total_steps: updates in all.
        shown: whether this process shows anything.
        evaluated: what the images are called that are evaluated.
    """

    def __init__(self, first_step: int, total_steps: int, shown: bool = True, evaluated: str = "test") -> None:
        # The bar is as wide as the words leave room for.
        bar = BarColumn(bar_width=None, table_column=Column(ratio=1))
        columns = (TextColumn("{task.description}"), bar, MofNCompleteColumn(), TimeRemainingColumn())
        self._shown, self._first, self._total, self._evaluated = shown, first_step, total_steps, evaluated
        self._start = time.perf_counter()
        self._bar = Progress(*columns, console=console, expand=True, disable=not (shown and console.is_terminal))
        self._task = self._bar.add_task("starting", total=total_steps, completed=first_step)

    def __enter__(self) -> "ProgressBar":
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def advance(self, step: int) -> None:
        """Moves the bar."""
        self._bar.update(self._task, completed=step)

    def update(self, loss: float, accuracy: float, images_per_second: float) -> None:
        """Changes what stands before the bar."""
        words = f"loss {loss:.4f}  accuracy {accuracy:.2%}  {images_per_second:,.0f} images/s"
        self._bar.update(self._task, description=words)

    def log_row(self, row: Row) -> None:
        """Prints a row of the history: on a terminal above the bar, if it has an evaluation; in a file always."""
        if self._shown and ("eval_accuracy" in row or not console.is_terminal):
            console.print(self._line(row), highlight=False, soft_wrap=True)

    def _line(self, row: Row) -> str:
        step = int(row["step"])
        left = (time.perf_counter() - self._start) / max(1, step - self._first) * (self._total - step)
        line = f"step {step:,} of {self._total:,}  epoch {row['epoch']:.4g}  loss {row['loss']:.4f}"
        line += f"  accuracy {row['accuracy']:.2%}"
        if "eval_accuracy" in row:
            line += f"  {self._evaluated} {row['eval_accuracy']:.2%}"
        return f"{line}  {row['images_per_second']:,.0f} images/s  {_duration(left)} left"


def _duration(seconds: float) -> str:
    """Hours, minutes and seconds: "1:02:03" or "2:03"."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
