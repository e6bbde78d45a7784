"""Lists of files and their classes as people have them: tables, JSON lines, the metadata of Hugging Face's folders."""

import csv
import functools
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

from keras_nest.console import shorten
from keras_nest.files import is_address
from keras_nest.finetune.label_columns import LabelColumns, label_columns, switch_columns
from keras_nest.finetune.labels import PARTS, Place, check_labels
from keras_nest.places import as_place, beside, has_file_system, is_file, text_lines
from keras_nest.targets import MULTI_LABEL, REGRESSION, SEPARATOR, SINGLE_LABEL, Target
from keras_nest.untrusted.json_text import parse_json

METADATA = ("metadata.csv", "metadata.jsonl")
"""Names of the list in a folder of images, as `datasets` of Hugging Face has them."""
TABLES = (".csv", ".tsv", ".jsonl", ".ndjson")
"""Endings of lists."""

_FILE: tuple[str, ...] = ("file", "file_name", "filename", "filepath", "file_path", "path", "img", "img_path")
_FILE += ("image", "image_path", "image_file", "image_name", "image_filename")
_LABEL = ("label", "labels", "class", "classes", "class_name", "label_name", "category", "target", "tag", "tags")
_NUMBER = ("number", "value", "score", "y")
_PART = ("part", "split", "subset", "partition", "set")
# Of two columns, what the other is not: captions are for LiT, and the rest are facts about the file.
_NO_LABEL = ("text", "caption", "captions", "title", "prompt", "description", "id", "width", "height", "size", "note")
_DELIMITERS = ",;\t"

Row: TypeAlias = tuple[int, Mapping[str, Any]]
"""Number of a row, and what it says."""


class Listed(NamedTuple):
    """The images of a list.

    Attributes:
        places: the images, each once.
        told: in words what is passed over.
        target: what the list tells of an image.
    """

    places: list[Place]
    told: list[str]
    target: Target


class Records(NamedTuple):
    """What a list says.

    Attributes:
        path: of the list.
        columns: names of the columns, or all keys.
        parse: the rows that say something, anew each time: all of them would take many times what the list takes.
    """

    path: str
    columns: Sequence[str]
    parse: Callable[[], Iterator[Row]]

    @property
    def rows(self) -> Iterator[Row]:
        """Number of each row, and what it says."""
        return self.parse()


def read_records(path: str) -> Records:
    """Reads a list.

    Args:
        path: local or an address, of comma-separated values (or with semicolons or tabs) in UTF-8, with names of
            columns in the first row; or of JSON lines, where it ends in .jsonl or .ndjson.

    Raises:
        FileNotFoundError: there is no such list.
        ValueError: it cannot be read.
    """
    if not is_file(path):
        raise FileNotFoundError(f"There is no list of images {path}.")
    content = as_place(path).read_bytes()
    try:
        return _read_lines(path, content) if path.lower().endswith(TABLES[2:]) else _read_table(path, content)
    except UnicodeDecodeError:
        raise ValueError(f"{path} is no text in UTF-8; save it as such.") from None
    except csv.Error as error:
        raise ValueError(f"{path} cannot be read as comma-separated values: {error}.") from None


def list_images(
    records: Records,
    label_column: str | None = None,
    task: str = SINGLE_LABEL,
    part: str = "",
    is_metadata: bool = False,
) -> Listed:
    """The images that a list names.

    The columns, or in JSON lines the keys, tell by their names what they are: a file, such as `file`, `path`, `image`
    or `file_name`; a class, such as `label` or `class`; and perhaps a part, `part` or `split`. Of two columns the one
    that is no file is the class, unless its name says another thing, such as `text`. Files are relative to the list, or
    addresses. A row without a part is passed over, where there is a column of parts.

    Of several classes, a cell has "|", ";" or "," between their names, or nothing for none; in JSON lines it may be a
    list. Without a column of classes, columns that hold nothing but 0 and 1 are the classes.

    Args:
        records: the list.
        label_column: the column of the class or number; None goes by the names.
        task: one of `keras_nest.choices.TASKS`, what is told of an image.
        part: of all images, where the folder of the list says it.
        is_metadata: where there is no column of parts, the first folder of each file may say it.

    Raises:
        FileNotFoundError: none of its images is there.
        ValueError: it lacks a column or a cell, gives an image two labels, or its labels are not of the task.
    """
    path = records.path
    file, label, split = _find_columns(records, label_column, task)
    places: dict[str, Place] = {}
    rows: dict[str, int] = {}
    told = {"rows without a part": 0, "rows that repeat others": 0}
    for number, record in records.rows:
        place = _place(path, number, record, file, label, None if part else split)
        if split and not part and not place.part:
            told["rows without a part"] += 1
            continue
        place = place._replace(part=part or place.part)
        known = places.setdefault(place.path, place)
        if known != place:
            different = "labels" if known.label != place.label else "parts"
            raise ValueError(
                f"{path} names {place.path} twice, with two {different}, in rows {rows[place.path]} and {number}; an "
                "image must have one."
            )
        told["rows that repeat others"] += place.path in rows
        rows.setdefault(place.path, number)
    if label.target.is_single_label:
        check_labels({place.label for place in places.values()}, path)
    if not places:
        raise ValueError(f"{path} names no images; each row must have a file and a class.")
    if not any(as_place(name).exists() for name in places):
        raise FileNotFoundError(
            f"{path} names images that are not there, such as {next(iter(places))}; paths must be absolute, or "
            "relative to the folder of the list."
        )
    found = list(places.values())
    if is_metadata and not part and not split:
        found = _parts_by_folder(found, os.path.dirname(path))
    return Listed(found, [f"{what}: {count:,}" for what, count in told.items() if count], label.target)


def has_labels(records: Records, label_column: str | None = None, task: str = SINGLE_LABEL) -> bool:
    """Whether a list has a column of files and one of classes."""
    try:
        return bool(_find_columns(records, label_column, task))
    except ValueError:
        return False


def _read_table(path: str, content: bytes) -> Records:
    # A spreadsheet may write semicolons; what divides the names of the columns divides the cells.
    delimiter = max(_DELIMITERS, key=next(text_lines(content, path), "").count)
    parse = functools.partial(_table_rows, path, content, delimiter)
    columns = [name.strip() for name in next(_cells(path, content, delimiter), [])]
    for _ in parse():  # as far as the first that cannot be read
        pass
    return Records(path, columns, parse)


def _cells(path: str, content: bytes, delimiter: str) -> Iterator[list[str]]:
    return csv.reader(text_lines(content, path), delimiter=delimiter, strict=True)


def _table_rows(path: str, content: bytes, delimiter: str) -> Iterator[Row]:
    rows = _cells(path, content, delimiter)
    columns = [name.strip() for name in next(rows, [])]
    for number, row in enumerate(rows, 2):
        if any(row[len(columns) :]):
            raise ValueError(
                f"Row {number} of {path} has {len(row)} cells, and there are {len(columns)} columns; a cell with "
                f"{delimiter!r} must stand in quotation marks."
            )
        if any(row):
            yield number, dict(zip(columns, row, strict=False))


def _read_lines(path: str, content: bytes) -> Records:
    parse = functools.partial(_json_rows, path, content)
    return Records(path, list(dict.fromkeys(name for _, record in parse() for name in record)), parse)


def _json_rows(path: str, content: bytes) -> Iterator[Row]:
    for number, line in enumerate(text_lines(content, path, "\n"), 1):
        if not line.strip():
            continue
        try:
            record = parse_json(line)
        except ValueError:
            record = None
        if not isinstance(record, dict):
            raise ValueError(
                f'Line {number} of {path} is no object in JSON, such as {{"file": "a.jpg", "label": "cat"}}.'
            )
        yield number, record


def _find_columns(records: Records, label_column: str | None, task: str) -> tuple[str, LabelColumns, str | None]:
    """The columns of files, of what they show and, if there is one, of parts."""
    path, columns = records.path, records.columns
    file, part = (_find(path, columns, known) for known in (_FILE, _PART))
    if file is None:
        raise ValueError(
            f"{path} has no column of files; its first row has {_shown(columns)}, and one must be file, path, image or "
            "file_name."
        )
    rest = [name for name in columns if name not in (file, part)]
    if label_column is not None:
        if label_column not in columns:
            raise ValueError(f"{path} has no column {label_column!r}; it has {_shown(columns)}.")
        part = part if part != label_column else None
        return file, label_columns(task, label_column, (row for _, row in records.rows)), part
    return file, _find_labels(records, rest, task), part


def _find_labels(records: Records, rest: list[str], task: str) -> LabelColumns:
    """The columns of what the images show, among those that are no files and no parts."""
    path, columns = records.path, records.columns
    is_clear = len(rest) == 1 and _normalized(rest[0]) not in _NO_LABEL
    label = _find(path, columns, _LABEL) or (_find(path, columns, _NUMBER) if task == REGRESSION else None)
    label = label or (rest[0] if is_clear else None)
    if label is not None:
        return label_columns(task, label, (row for _, row in records.rows))
    if task == MULTI_LABEL and len(switches := switch_columns(rest, (row for _, row in records.rows))) > 1:
        if wrong := [name for name in switches if SEPARATOR in name]:
            raise ValueError(f"{path} has the column {wrong[0]!r}; the name of a class must have no {SEPARATOR} in it.")
        return LabelColumns(switches, Target(task))
    what = "numbers" if task == REGRESSION else "classes"
    also = ", or each class a column of 0 and 1" if task == MULTI_LABEL else ""
    raise ValueError(
        f"{path} has no column of {what}; it has {_shown(columns)}, and one must be label or class{also}, or be named "
        "by --label-column."
    )


def _find(path: str, columns: Sequence[str], known: Sequence[str]) -> str | None:
    """The one column whose name, written in any way, is known."""
    found = [name for name in columns if _normalized(name) in known]
    if len(found) > 1:
        remedy = "name the right one by --label-column" if known in (_LABEL, _NUMBER) else "rename or remove one"
        raise ValueError(f"{path} has the columns {' and '.join(found)}, which may mean the same; {remedy}.")
    return found[0] if found else None


def _normalized(name: str) -> str:
    return name.strip().lower().replace(" ", "_").replace("-", "_")


def _shown(columns: Sequence[str]) -> str:
    return shorten(", ".join(columns), 500) or "nothing"


def _place(
    path: str, number: int, record: Mapping[str, Any], file: str, label: LabelColumns, split: str | None
) -> Place:
    name, row = record.get(file), f"row {number}"
    if not isinstance(name, str) or not name.strip():
        raise ValueError(f"{path} names no file in {row}.")
    name = name.strip()
    if is_address(name) and not has_file_system(name):
        raise ValueError(
            f"{path} names {name} in {row}, an address that TensorFlow has no file system for; copy the images to this "
            "machine."
        )
    part = str(record.get(split) or "").strip().lower() if split else ""
    if part and part not in PARTS:
        raise ValueError(f"{path} has the part {part!r} in {row}; a part must be train, val or test.")
    found = label.read(record, path, row)
    if not found and not (split and not part) and label.target.task != MULTI_LABEL:
        raise ValueError(f"{path} has no label in {row}; remove the row, or give its image a label.")
    # One text for all images of a class.
    return Place(_resolve(path, name), sys.intern(found), PARTS.get(part, ""))


def _resolve(path: str, name: str) -> str:
    """Where a file lies; names that Windows wrote are read as well."""
    if "\\" in name and not as_place(beside(path, name)).exists():
        name = name.replace("\\", "/")
    found = beside(path, name)
    return found if is_address(found) else os.path.normpath(found)


def _parts_by_folder(places: list[Place], folder: str) -> list[Place]:
    """Parts that the first folders of the files say, if these name several parts and nothing else."""
    first = [os.path.relpath(place.path, folder or ".").split(os.sep)[0].lower() for place in places]
    if len(set(first)) < 2 or not set(first) <= set(PARTS):
        return places
    return [place._replace(part=PARTS[name]) for place, name in zip(places, first, strict=True)]
