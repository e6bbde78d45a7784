"""Labeled images that a CSV file lists, one a row: which file, which class or what else, which part of the data set."""

import csv
import os
import pathlib
import sys
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from keras_nest.data.image_files import Convert
from keras_nest.data.orientation import UPRIGHT
from keras_nest.data.sources.base import DatasetInfo, Source
from keras_nest.data.sources.folder import TEST_SPLITS, File, check_broken, index_examples, without_broken
from keras_nest.files import atomic_output
from keras_nest.mirror import run_directory
from keras_nest.places import Place, absolute, as_place, beside, text_lines
from keras_nest.run_files import IMAGES, MODEL
from keras_nest.targets import ONE_CLASS, REGRESSION, Target, read_number, target_of_column

SUFFIX = ".csv"
_FILE, _PART = "file", "part"


class Row(NamedTuple):
    """A row of a table of images.

    Attributes:
        file: its path, absolute or relative to the table, or its address.
        label: name of its class, or what else its table tells, as `keras_nest.targets` has it.
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


class Table(NamedTuple):
    """A table of images.

    Attributes:
        rows: of the table.
        target: what it tells of an image.
    """

    rows: list[Row]
    target: Target


def write_table(path: str | pathlib.Path, rows: Iterable[Row], target: Target = ONE_CLASS) -> None:
    """Writes a table, completely or not at all; one that is there is replaced."""
    with atomic_output(path, overwrite=True) as partial, partial.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow((_FILE, target.column, _PART, "orientation", "size", "note"))
        writer.writerows(rows)


def read_table(path: str | os.PathLike[str]) -> Table:
    """Reads a table of images.

    It is a CSV file in UTF-8 whose first row names the columns: file, class and part, and perhaps orientation, size
    and note. Other columns are left. In the place of class stands classes where an image has several, with "|" between
    their names, or none; or number, perhaps with what is measured: number:age.

    Args:
        path: of the table, local or an address.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no table of images.
    """
    table = as_place(path)
    if not table.is_file():
        raise FileNotFoundError(f"There is no table of images {table}.")
    try:
        reader = csv.DictReader(text_lines(table.read_bytes(), table), strict=True)
        target = _target(table, reader.fieldnames or ())
        return Table([_row(table, number, row, target) for number, row in enumerate(reader, 2)], target)
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{table} cannot be read as comma-separated values in UTF-8: {error}.") from None


def rows_of_run(source: str | os.PathLike[str]) -> list[Row]:
    """The images of a fine-tuning, with absolute paths; empty where a source tells none that can be read.

    Args:
        source: what a model is opened from: tells them if it is the directory of a fine-tuning, or the model in it.
    """
    try:
        path = run_directory(source)
        table = (path.parent if path.name == MODEL else path) / IMAGES
        return [row._replace(file=absolute(beside(table, row.file))) for row in read_table(table).rows]
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
        train_split: the part of the training images, whose classes are those of the data set, sorted by name; or whose
            numbers have the mean and the deviation that labels are measured by.
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
    return source_of(*read_table(path), path, train_split, test_split, broken, convert)


def source_of(
    rows: Iterable[Row],
    target: Target,
    path: str | os.PathLike[str],
    train_split: str = "train",
    test_split: str | None = None,
    broken: str = "refuse",
    convert: Convert | None = None,
) -> Source:
    """What `open_table` makes of the rows of a table, which lies at this path or will lie there."""
    table = as_place(path)
    parts: dict[str, list[Row]] = {}
    for row in rows:
        parts.setdefault(row.part, []).append(row)
    train_rows = _part(table, parts, (train_split,))
    test_rows = _part(table, parts, TEST_SPLITS if test_split is None else (test_split,))
    class_names = target.class_names(row.label for row in train_rows)
    if unknown := sorted(set(target.class_names(row.label for row in test_rows)) - set(class_names)):
        raise ValueError(f"{table} has test images of {unknown[0]!r}, a class that no training image has.")
    if not class_names:
        raise ValueError(f"{table} has no training image of any class.")
    scale = _scale(table, train_rows) if target.task == REGRESSION else (0.0, 1.0)
    train, test = (_files(table, some, target, class_names, scale) for some in (train_rows, test_rows))
    if broken != "unchecked" and any(row.orientation is None for row in (*train_rows, *test_rows)):
        train, test = without_broken(train, test, broken, path)
    info = DatasetInfo(os.fspath(path), class_names, (None, None, 3), len(train), len(test), target, scale)
    return Source(info, index_examples(train, convert), index_examples(test, convert))


def _target(table: Place, columns: Sequence[str]) -> Target:
    """What the columns of a table tell."""
    target = target_of_column(columns)
    missing = [name for name in (_FILE, _PART) if name not in columns] + ([] if target else ["class"])
    if target is None or missing:
        raise ValueError(
            f"{table} has no column {missing[0]}; its first row must name file, class (or classes, or number), part."
        )
    return target


def _row(table: Place, number: int, cells: dict[str, str | None], target: Target) -> Row:
    file, label, part = (cells[name] for name in (_FILE, target.column, _PART))
    if not file or label is None or part is None or (part and not label and target.is_single_label):
        raise ValueError(f"Row {number} of {table} must have a file, a class and a part.")
    if part and target.task == REGRESSION and read_number(label) is None:
        raise ValueError(f"Row {number} of {table} has {label!r} in the place of a number.")
    if not all(target.names_in(label)):
        raise ValueError(f"Row {number} of {table} has a class without a name: {label!r}.")
    numbers = (cells.get("orientation"), cells.get("size"))
    if not all((text or "0").isdecimal() for text in numbers):
        raise ValueError(f"Row {number} of {table} has an orientation or size that is no whole number.")
    orientation, size = (int(text) if text else None for text in numbers)
    # One text for all images of a class, and for those of a part.
    return Row(file, sys.intern(label), sys.intern(part), orientation, size, cells.get("note") or "")


def _part(table: Place, parts: dict[str, list[Row]], names: Sequence[str]) -> list[Row]:
    """The rows of the first of some parts that is there."""
    for name in names:
        if name in parts:
            return parts[name]
    known = ", ".join(sorted(filter(None, parts))) or "none"
    raise ValueError(f"{table} has no images in part {' or '.join(names)}; its parts are {known}.")


def _scale(table: Place, rows: Sequence[Row]) -> tuple[float, float]:
    """Mean and standard deviation of numbers."""
    numbers = np.array([float(row.label) for row in rows])
    if (numbers == numbers[0]).all():
        raise ValueError(f"All training images of {table} have the number {numbers[0]:g}; there is nothing to learn.")
    return float(numbers.mean()), float(numbers.std())


def _files(
    table: Place,
    rows: Sequence[Row],
    target: Target,
    class_names: Sequence[str],
    scale: tuple[float, float],
) -> list[File]:
    labels = target.encode([row.label for row in rows], class_names)
    if target.task == REGRESSION:
        mean, deviation = scale
        labels = ((labels - mean) / deviation).astype(np.float32)
    return [
        File(beside(table, row.file), label, row.orientation or UPRIGHT)
        for row, label in zip(rows, labels, strict=True)
    ]
