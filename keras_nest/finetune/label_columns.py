"""The columns of a list that say what its images show: a class, several, or a number."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from keras_nest.finetune.labels import read_label, read_labels, read_measure
from keras_nest.targets import MULTI_LABEL, ONE_CLASS, REGRESSION, SEPARATOR, SINGLE_LABEL, Target

SEPARATORS = (SEPARATOR, ";", ",")
"""What may stand between the classes of a cell; the first that a list has anywhere is its own."""

_SWITCH = {"": False, "0": False, "1": True, "0.0": False, "1.0": True, "false": False, "true": True}


@dataclasses.dataclass(frozen=True)
class LabelColumns:
    """Where a list says what an image shows.

    Attributes:
        names: of the columns: one, or several of 0 and 1, whose names are those of the classes.
        target: what they tell.
        separator: between the classes of a cell.
    """

    names: tuple[str, ...]
    target: Target = ONE_CLASS
    separator: str = SEPARATOR

    def read(self, record: Mapping[str, Any], table: str, place: str) -> str:
        """The label of a row, as `keras_nest.targets` has it; "" where it has none.

        Args:
            record: the row.
            table: path of the list, for the message.
            place: the row, likewise: "row 3".

        Raises:
            ValueError: what stands there is no such label.
        """
        if len(self.names) > 1:
            given = [(name, _switch(record.get(name))) for name in self.names]
            if unknown := [name for name, is_given in given if is_given is None]:
                raise ValueError(f"{table} has {record[unknown[0]]!r} for {unknown[0]} in {place}; it must be 0 or 1.")
            return SEPARATOR.join(sorted(name for name, is_given in given if is_given))
        value = record.get(self.names[0])
        if self.target.task == SINGLE_LABEL:
            return read_label(value, table, place)
        if self.target.task == REGRESSION:
            return read_measure(value, table, place)
        return SEPARATOR.join(read_labels(value, self.separator, table, place))


def label_columns(task: str, column: str, rows: Iterable[Mapping[str, Any]]) -> LabelColumns:
    """How to read the one column that holds the labels."""
    if task == MULTI_LABEL:
        used: set[str] = set()
        for row in rows:
            if isinstance(cell := row.get(column), str):
                used.update(mark for mark in SEPARATORS if mark in cell)
        return LabelColumns((column,), Target(task), next((mark for mark in SEPARATORS if mark in used), SEPARATOR))
    return LabelColumns((column,), Target(task, " ".join(column.split()) if task == REGRESSION else ""))


def switch_columns(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> tuple[str, ...]:
    """Those columns that hold nothing but 0 and 1, or true and false, and hold them in every row."""
    left = dict.fromkeys(columns)
    for row in rows:
        for name in [name for name in left if row.get(name) in (None, "") or _switch(row[name]) is None]:
            del left[name]
    return tuple(left)


def _switch(value: Any) -> bool | None:
    """Whether a class is there; None where the cell does not say it."""
    return _SWITCH.get("" if value is None else str(value).strip().lower())
