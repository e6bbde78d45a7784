"""Names of parts and classes as lists give them."""

import re
from collections.abc import Iterable
from typing import Any, NamedTuple

PARTS = {"train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val", "dev": "val"}
PARTS |= {"test": "test", "testing": "test"}
"""Names of the folders or cells of a data set that is split already, and the parts that they are."""

_SEVERAL = "has several labels in {place} ({shown}); an image must have one class, since each trains a single one."
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.IGNORECASE)


class Place(NamedTuple):
    """A file that may be an image.

    Attributes:
        path: of the file.
        label: name of its class.
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
            f"{table} has numbers such as {broken[0]} as labels; images are sorted into classes here, so make classes "
            "of the numbers, such as small and large."
        )
    for label in sorted(known):
        pieces = {piece.strip() for piece in label.split(",")}
        if {"|", ";"} & set(label) or (len(pieces) > 1 and pieces & (known - {label})):
            raise ValueError(f"{table} {_SEVERAL.format(place='a cell', shown=label)}")
