"""Names of parts, classes and numbers as lists give them."""

import re
from collections.abc import Iterable
from typing import Any, NamedTuple

from keras_nest.targets import SEPARATOR, read_number

PARTS = {"train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val", "dev": "val"}
PARTS |= {"test": "test", "testing": "test"}
"""Names of the folders or cells of a data set that is split already, and the parts that they are."""

_SEVERAL = (
    "has several labels in {place} ({shown}); --task multi-label learns several, and without it an image must have "
)
_SEVERAL += "one class."
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.IGNORECASE)


class Place(NamedTuple):
    """A file that may be an image.

    Attributes:
        path: of the file.
        label: name of its class, or what else a list tells, as `keras_nest.targets` has it.
        part: "train", "val" or "test" as folders or a list say; "" where they say nothing.
    """

    path: str
    label: str
    part: str


def read_label(value: Any, table: str, place: str) -> str:
    """The class that a cell names; "" where it is empty.

    Args:
        value: text of a table, or anything that JSON has.
        table: path of the list, for the message.
        place: the row, likewise: "row 3".

    Raises:
        ValueError: it names several, or is no label.
    """
    if isinstance(value, list):
        if len(value) > 1:
            raise ValueError(f"{table} {_SEVERAL.format(place=place, shown=', '.join(map(str, value)))}")
        value = value[0] if value else ""
    if isinstance(value, (dict, list)):
        raise ValueError(f"{table} has a label in {place} that is neither text nor number: {value}.")
    if isinstance(value, bool):
        return str(value).lower()
    label = "" if value is None else str(value).strip()
    if {"\n", "\r"} & set(label):
        raise ValueError(f"{table} has the class {label!r} in {place}, a name of more than one line.")
    return label


def read_labels(value: Any, separator: str, table: str, place: str) -> list[str]:
    """The classes that a cell names, each once, sorted; none where it is empty.

    Args:
        value: text of a table, with `separator` between the names, or a list or whatever else JSON has.
        separator: see there.
        table: path of the list, for the message.
        place: the row, likewise: "row 3".

    Raises:
        ValueError: one of them is no label.
    """
    values = value if isinstance(value, list) else value.split(separator) if isinstance(value, str) else [value]
    if nested := [each for each in values if isinstance(each, (dict, list))]:
        raise ValueError(f"{table} has a label in {place} that is neither text nor number: {nested[0]}.")
    labels = {read_label(each, table, place) for each in values} - {""}
    if wrong := [label for label in sorted(labels) if SEPARATOR in label]:
        raise ValueError(f"{table} has the class {wrong[0]!r} in {place}; a name must have no {SEPARATOR} in it.")
    return sorted(labels)


def read_measure(value: Any, table: str, place: str) -> str:
    """The number in a cell, as it stands there; "" where the cell is empty.

    Args:
        value: text of a table, or anything that JSON has.
        table: path of the list, for the message.
        place: the row, likewise: "row 3".

    Raises:
        ValueError: it is no number, or none that is finite.
    """
    text = "" if value is None else str(value).strip()
    if text and (isinstance(value, bool) or read_number(text) is None):
        raise ValueError(f"{table} has {value!r} in {place}, which is no number; --task regression learns numbers.")
    return text


def check_labels(labels: Iterable[str], table: str) -> None:
    """Refuses labels that are measurements, or lists of labels in one cell.

    A cell is such a list if "|" or ";" divide it, or if commas do and one of the pieces is a label elsewhere; so
    "tench, Tinca tinca" is a name.

    Raises:
        ValueError: says which, and that an image must have one class.
    """
    known = set(labels)
    if all(_NUMBER.fullmatch(label) for label in known) and (
        broken := [label for label in sorted(known) if not float(label).is_integer()]
    ):
        raise ValueError(
            f"{table} has numbers such as {broken[0]} as labels; --task regression learns numbers, and without it make "
            "classes of them, such as small and large."
        )
    for label in sorted(known):
        pieces = {piece.strip() for piece in label.split(",")}
        if {"|", ";"} & set(label) or (len(pieces) > 1 and pieces & (known - {label})):
            raise ValueError(f"{table} {_SEVERAL.format(place='a cell', shown=label)}")
