"""Labeled images that a CSV file lists, one a row: which file, which class, which part of the data set."""

import csv
import os
import pathlib
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from keras_nest.data.image_files import Convert
from keras_nest.data.orientation import UPRIGHT
from keras_nest.data.sources.base import DatasetInfo, Source
from keras_nest.data.sources.folder import TEST_SPLITS, File, check_broken, index_examples, without_broken
from keras_nest.files import atomic_output, check_local
from keras_nest.run_files import IMAGES, MODEL

SUFFIX = ".csv"
_REQUIRED = ("file", "class", "part")


class Row(NamedTuple):
    """A row of a table of images.

    Attributes:
        file: its path, absolute or relative to the table.
        label: name of its class.
        part: of the data set, such as "train"; "" where the image is left out.
        orientation: how it is to be turned, 1 to 8 as EXIF counts; None if that was not looked for.
        size: bytes of the file; None if not known.
        note: why it is left out, or what else there is to say.
    """

    file: str
    label: str
    part: str
    orientation: int | None = None
    size: int | None = None
    note: str = ""


def write_table(path: str | pathlib.Path, rows: Iterable[Row]) -> None:
    """Writes a table, completely or not at all; one that is there is replaced."""
    with atomic_output(path, overwrite=True) as partial, partial.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow((*_REQUIRED, "orientation", "size", "note"))
        writer.writerows(rows)


def read_table(path: str | os.PathLike[str]) -> list[Row]:
    """Reads a table of images.

    It is a CSV file in UTF-8 whose first row names the columns: file, class and part, and perhaps orientation, size
    and note. Other columns are left.

    Args:
        path: of the table.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no table of images.
    """
    check_local(path)
    table = pathlib.Path(path)
    if not table.is_file():
        raise FileNotFoundError(f"There is no table of images {table}.")
    try:
        with table.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, strict=True)
            columns, rows = reader.fieldnames or (), list(reader)
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{table} cannot be read as comma-separated values in UTF-8: {error}.") from None
    if missing := [name for name in _REQUIRED if name not in columns]:
        raise ValueError(f"{table} has no column {missing[0]}; its first row must name {', '.join(_REQUIRED)}.")
    return [_row(table, number, row) for number, row in enumerate(rows, 2)]


def rows_of_run(source: str | os.PathLike[str]) -> list[Row]:
    """The images of a fine-tuning, with absolute paths; empty where a source tells none that can be read.

    Args:
        source: what a model is opened from: tells them if it is the directory of a fine-tuning, or the model in it.
    """
    path = pathlib.Path(source)
    table = (path.parent if path.name == MODEL else path) / IMAGES
    try:
        return [row._replace(file=os.path.abspath(table.parent / row.file)) for row in read_table(table)]
    except (ValueError, OSError):
        return []


def open_table(
    path: str | os.PathLike[str],
    train_split: str = "train",
    test_split: str | None = None,
    broken: str = "refuse",
    convert: Convert | None = None,
) -> Source:
    """Opens the images that a table lists.

    Args:
        path: of the table, see `read_table`.
        train_split: the part of the training images, whose classes are those of the data set, sorted by name.
        test_split: that of the test images; None takes "test", "val" or "validation", whichever comes first.
        broken: what to do about broken files, as for class folders; where the table says how each image is to be
            turned, they were looked at already.
        convert: as `keras_nest.data.image_files.decodable_in_graph` takes it.

    Returns:
        The data set; its images are read when they are needed.

    Raises:
        FileNotFoundError: there is no such table.
        ValueError: it cannot be read, has no such part or a class only in the test part, files are broken, or an
            unknown value of `broken`.
    """
    check_broken(broken)
    return source_of(read_table(path), path, train_split, test_split, broken, convert)


def source_of(
    rows: Iterable[Row],
    path: str | os.PathLike[str],
    train_split: str = "train",
    test_split: str | None = None,
    broken: str = "refuse",
    convert: Convert | None = None,
) -> Source:
    """What `open_table` makes of rows, which a table at this path holds or will hold."""
    table = pathlib.Path(path)
    parts: dict[str, list[Row]] = {}
    for row in rows:
        parts.setdefault(row.part, []).append(row)
    train_rows = _part(table, parts, (train_split,))
    test_rows = _part(table, parts, TEST_SPLITS if test_split is None else (test_split,))
    class_names = tuple(sorted({row.label for row in train_rows}))
    if unknown := sorted({row.label for row in test_rows} - set(class_names)):
        raise ValueError(f"{table} has test images of {unknown[0]!r}, a class that no training image has.")
    train, test = (_files(table, some, class_names) for some in (train_rows, test_rows))
    if broken != "unchecked" and any(row.orientation is None for row in (*train_rows, *test_rows)):
        train, test = without_broken(train, test, broken, path)
    info = DatasetInfo(os.fspath(path), class_names, (None, None, 3), len(train), len(test))
    return Source(info, index_examples(train, convert), index_examples(test, convert))


def _row(table: pathlib.Path, number: int, cells: dict[str, str | None]) -> Row:
    file, label, part = (cells[name] for name in _REQUIRED)
    if not file or label is None or part is None or (part and not label):
        raise ValueError(f"Row {number} of {table} must have a file, a class and a part.")
    numbers = (cells.get("orientation"), cells.get("size"))
    if not all((text or "0").isdecimal() for text in numbers):
        raise ValueError(f"Row {number} of {table} has an orientation or size that is no whole number.")
    orientation, size = (int(text) if text else None for text in numbers)
    return Row(file, label, part, orientation, size, cells.get("note") or "")


def _part(table: pathlib.Path, parts: dict[str, list[Row]], names: Sequence[str]) -> list[Row]:
    """The rows of the first of some parts that is there."""
    for name in names:
        if name in parts:
            return parts[name]
    known = ", ".join(sorted(filter(None, parts))) or "none"
    raise ValueError(f"{table} has no images in part {' or '.join(names)}; its parts are {known}.")


def _files(table: pathlib.Path, rows: Sequence[Row], class_names: Sequence[str]) -> list[File]:
    labels = {name: label for label, name in enumerate(class_names)}
    return [File(str(table.parent / row.file), labels[row.label], row.orientation or UPRIGHT) for row in rows]
