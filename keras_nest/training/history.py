"""The numbers of a run, step by step: a table that grows while it trains, as CSV and for TensorBoard."""

import csv
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import tensorflow as tf

from keras_nest.files import atomic_output
from keras_nest.places import text_lines
from keras_nest.training.checkpoints import writing
from keras_nest.training.trackers import Tracker

Row: TypeAlias = dict[str, float]
COLUMNS = (
    "step",
    "epoch",
    "loss",
    "accuracy",
    "learning_rate",
    "grad_norm",
    "images_per_second",
    "seconds",
    "eval_loss",
    "eval_accuracy",
    "eval_top5",
)


class History:
    """Rows of `COLUMNS`, each about the steps since the row before.

    Training values are means over these steps, while the weights change; grad_norm is that before clipping, the
    learning rate that of the last update. seconds are those of the whole run so far, evaluation included;
    images_per_second are of training alone. A row without evaluation has no eval_ values.

    Args:
        path: history.csv; None writes nothing.
        board: directory for TensorBoard; None writes nothing.
        step: rows of later steps, which a run wrote before it was broken off, are dropped.
        columns: those that a row can have.
        tracker: takes the rows, too.
    """

    def __init__(
        self,
        path: pathlib.Path | None,
        board: pathlib.Path | None,
        step: int,
        columns: Sequence[str] = COLUMNS,
        tracker: Tracker | None = None,
    ) -> None:
        known = read_history(path) if path is not None and path.exists() else []
        self.rows = [row for row in known if row["step"] <= step]
        self._path, self._columns, self._tracker = path, columns, tracker
        self._writer = tf.summary.create_file_writer(str(board)) if board is not None else None

    @property
    def seconds(self) -> float:
        """Duration of the run so far."""
        return self.rows[-1]["seconds"] if self.rows else 0.0

    def append(self, row: Row) -> None:
        """Adds a row and writes it; one of the same step is replaced."""
        self.rows = [one for one in self.rows if one["step"] < row["step"]] + [row]
        if self._path is not None:
            write_history(self._path, self.rows, self._columns)
        values = {_board_name(name): value for name, value in row.items() if name not in ("step", "seconds")}
        if self._writer is not None:
            with writing("The file for TensorBoard"), self._writer.as_default(int(row["step"])):
                for name, value in values.items():
                    tf.summary.scalar(name, value)
                self._writer.flush()
        if self._tracker is not None:
            self._tracker.log(values, int(row["step"]))

    def close(self) -> None:
        """No row will follow in this process."""
        if self._tracker is not None:
            self._tracker.close()

    def show(self, name: str, picture: np.ndarray, step: int) -> None:
        """Shows a picture, uint8 (H, W, C), in TensorBoard."""
        if self._writer is not None:
            with writing("The file for TensorBoard"), self._writer.as_default(step):
                tf.summary.image(name, picture[None])
                self._writer.flush()

    def note_configuration(self, config: Mapping[str, Any]) -> None:
        """Writes the configuration where TensorBoard shows hyper-parameters."""
        if self._writer is None:
            return
        from tensorboard.plugins.hparams import api

        with self._writer.as_default():
            api.hparams(dict(flat_fields(config)))


def write_history(path: pathlib.Path, rows: list[Row], columns: Sequence[str] = COLUMNS) -> None:
    """Writes rows as CSV."""
    with atomic_output(path, overwrite=True) as partial, partial.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)


def read_history(path: pathlib.Path) -> list[Row]:
    """Inverse of `write_history`; what is empty is left out.

    Raises:
        ValueError: it is damaged.
    """
    try:
        if path.exists() and not path.is_file():
            raise ValueError("a pipe or a device")  # which may have no end
        reader = csv.DictReader(text_lines(path.read_bytes(), path))
        rows = ({name: float(value) for name, value in row.items() if value} for row in reader)
        found = [{**row, "step": int(row["step"])} for row in rows]
        if "step" not in (reader.fieldnames or ["step"]):
            raise KeyError("step")
        return found
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, csv.Error):
        raise ValueError(
            f"{path} cannot be read as a history; put it right, or remove it to go on without its rows."
        ) from None


def _board_name(column: str) -> str:
    """TensorBoard groups by what stands before the slash."""
    kind, _, rest = column.partition("_")
    return f"eval/{rest}" if kind == "eval" else f"train/{column}"


def flat_fields(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, bool | int | float | str]]:
    """(name, value) of all fields, those of groups with dots; what is no number or text becomes text."""
    for name, value in config.items():
        if isinstance(value, Mapping):
            yield from flat_fields(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value if isinstance(value, (bool, int, float, str)) else str(value)
