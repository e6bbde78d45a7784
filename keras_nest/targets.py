"""What is told of an image: one class, several classes or none, or a number.

In lists of images this is a text: the name of the class, the names of all classes between bars, or the number.
"""

import dataclasses
import math
from collections.abc import Iterable, Sequence

import numpy as np

from keras_nest.choices import TASKS

SINGLE_LABEL, MULTI_LABEL, REGRESSION = TASKS
SEPARATOR = "|"
"""Between the names of several classes."""

_COLUMNS = {SINGLE_LABEL: "class", MULTI_LABEL: "classes", REGRESSION: "number"}
_QUANTITY = ":"  # between the last of these and the name of what is measured


@dataclasses.dataclass(frozen=True)
class Target:
    """What a model is to tell of an image.

    Attributes:
        task: one of `keras_nest.choices.TASKS`.
        quantity: name of the number of a regression, such as "age"; else empty.
    """

    task: str = SINGLE_LABEL
    quantity: str = ""

    @property
    def column(self) -> str:
        """Name of the column of a table of images: "class", "classes", "number" or "number:age"."""
        return _COLUMNS[self.task] + (f"{_QUANTITY}{self.quantity}" if self.quantity else "")

    @property
    def is_single_label(self) -> bool:
        """Whether an image has exactly one class."""
        return self.task == SINGLE_LABEL

    def names_in(self, label: str) -> tuple[str, ...]:
        """Names of the classes in a label; of a regression none."""
        if self.task == SINGLE_LABEL:
            return (label,)
        return tuple(label.split(SEPARATOR)) if self.task == MULTI_LABEL and label else ()

    def class_names(self, labels: Iterable[str]) -> tuple[str, ...]:
        """Names of a model's outputs: all classes, sorted; or the quantity, "number" if it has no name."""
        if self.task == REGRESSION:
            return (self.quantity or _COLUMNS[REGRESSION],)
        return tuple(sorted({name for label in labels for name in self.names_in(label)}))

    def encode(self, labels: Sequence[str], class_names: Sequence[str]) -> np.ndarray:
        """Labels as a loss takes them.

        Args:
            labels: N texts.
            class_names: K names, with those in the labels among them.

        Returns:
            int32 (N,), indices into the names; of several classes float32 (N, K), 1 for each that an image has; of
            a regression the numbers, float64 (N, 1).
        """
        if self.task == REGRESSION:
            return np.array([float(label) for label in labels])[:, None]
        places = {name: index for index, name in enumerate(class_names)}
        if self.task == SINGLE_LABEL:
            return np.array([places[label] for label in labels], np.int32)
        encoded = np.zeros((len(labels), len(class_names)), np.float32)
        for row, label in zip(encoded, labels, strict=True):
            row[[places[name] for name in self.names_in(label)]] = 1
        return encoded


ONE_CLASS = Target()
"""What folders of classes tell."""


def target_of_column(columns: Iterable[str]) -> Target | None:
    """The inverse of `Target.column`: what a table of images tells; None where no column says it."""
    tasks = {column: task for task, column in _COLUMNS.items()}
    for name in columns:
        column, _, quantity = name.partition(_QUANTITY)
        if column in tasks and (not quantity or tasks[column] == REGRESSION):
            return Target(tasks[column], quantity)
    return None


def read_number(text: str) -> float | None:
    """A finite number, as every language writes it; None where the text is none."""
    try:
        number = float(text) if "_" not in text else math.nan
    except ValueError:
        return None
    return number if math.isfinite(number) else None
