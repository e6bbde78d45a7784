"""Classes of images, printed and drawn as they are found: what `predict`, `zero-shot` and `explain` have in common."""

import argparse
import contextlib
import os
import sys
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeAlias

import numpy as np
import tensorflow as tf
from rich import box
from rich.cells import cell_len
from rich.progress import track
from rich.table import Table
from rich.text import Text

from keras_nest.console import SafeConsole, console, print_json, printable
from keras_nest.data.image_files import MAX_PIXELS
from keras_nest.figures import new_figure
from keras_nest.places import Place, as_place
from keras_nest.predict.images import find_images, read_images
from keras_nest.predict.picture import save_picture
from keras_nest.predict.predictor import Predictor

# Shorter lists are done before a bar could be read.
_BAR_FROM = 20

# In bytes: most file systems take 255, and pictures are written under a longer name first.
_LONGEST_STEM = 200

Prediction: TypeAlias = tuple[int, str, float]
"""A class: index, name, probability; or a number: 0, what it is of, and itself."""

Image: TypeAlias = tuple[Place, np.ndarray]
"""A file and its pixels, uint8 (h, w, 3)."""


def check_counts(args: argparse.Namespace) -> None:
    """Refuses numbers of classes or images below 1.

    Raises:
        ValueError: names the option.
    """
    for option in ("top", "batch"):
        if getattr(args, option) < 1:
            raise ValueError(f"--{option} is {getattr(args, option)}; it must be 1 or more.")


def print_predictions(args: argparse.Namespace, build: Callable[[], Predictor]) -> int:
    """Prints the most probable classes of each image, or its number; returns 1 if one could not be read, else 0.

    Args:
        args: of `predict` or `zero-shot`.
        build: is called when what else was asked for is found to be possible.

    Raises:
        ValueError: an option is out of range.
        OSError: images are not there, or a picture exists.
        ModuleNotFoundError: pictures need matplotlib.
    """
    check_counts(args)
    paths = find_images(args.images)
    pictures = picture_files(args, paths)
    predictor = build()
    numbers = predictor.gives_numbers
    if numbers and pictures:
        raise ValueError("--save draws probabilities, and this model gives numbers; leave it out.")
    names = longest(predictor.class_names or ["class 1000"])
    table = StreamedTable(
        {"image": longest(paths), "number": names, "value": 12}
        if numbers
        else {"image": longest(paths), "class": names, "probability": 0}
    )
    broken = Broken()
    for path, image, predictions in _predictions(predictor, paths, args, broken):
        if args.json:
            print_json(_facts(path, predictions, numbers))
        else:
            table.print(_rows(path, predictions, "{:.6g}" if numbers else "{:.2%}"))
        if pictures:
            with broken.told(path):
                shown = [(name, share) for _, name, share in predictions]
                save_picture(pictures[path], image, printable(path.name), shown, args.overwrite)
    return broken.code


class Broken:
    """Images that something was wrong with: each is told at once on the standard error, and the others go on.

    Attributes:
        code: exit code of a command, 1 if there were any, else 0.
    """

    def __init__(self) -> None:
        self.code = 0
        # While a bar is shown, sys.stderr is something else.
        self._errors = sys.stderr

    def tell(self, message: str) -> None:
        """Prints a sentence that names the image."""
        self.code = 1
        print(f"error: {printable(message)}", file=self._errors, flush=True)

    @contextlib.contextmanager
    def told(self, path: Place) -> Iterator[None]:
        """What goes wrong in the block is the fault of an image."""
        try:
            yield
        except BrokenPipeError:
            raise
        except (ValueError, OSError, MemoryError, tf.errors.OpError) as error:
            self.tell(f"{path}: {_sentence(error)}")


def _sentence(error: Exception) -> str:
    if isinstance(error, (MemoryError, tf.errors.ResourceExhaustedError)):
        return "there is not enough memory for this image."
    # TensorFlow's messages go on with where in the graph it was.
    return str(error.message if isinstance(error, tf.errors.OpError) else error).partition("\n")[0]


def _predictions(
    predictor: Predictor, paths: Sequence[Place], args: argparse.Namespace, broken: Broken
) -> Iterator[tuple[Place, np.ndarray, list[Prediction]]]:
    """Images with their predictions, in their order; what goes wrong with one is told, and the others go on."""
    silent = len(paths) < _BAR_FROM or not console.is_terminal or args.json
    shown = track(paths, "predicting", console=console, transient=True, disable=silent)
    for images in _batches(read_images(shown, broken.tell), args.batch):
        for (path, image), row in zip(images, _probabilities(predictor, images, broken), strict=True):
            if row is not None:
                best = np.argsort(-row, kind="stable")[: args.top]
                yield path, image, [(int(k), predictor.name_of(k), float(row[k])) for k in best]


def _batches(images: Iterable[Image], size: int) -> Iterator[list[Image]]:
    """Some images at a time: so many, but fewer of large ones, of which a batch would not fit into the memory."""
    batch: list[Image] = []
    pixels = 0
    for path, image in images:
        batch.append((path, image))
        pixels += image.shape[0] * image.shape[1]
        if len(batch) == size or pixels > MAX_PIXELS // 2:
            yield batch
            batch, pixels = [], 0
    if batch:
        yield batch


def _probabilities(predictor: Predictor, images: Sequence[Image], broken: Broken) -> list[np.ndarray | None]:
    """A row for each image; None where there is none, and why is told."""
    try:
        rows: list[np.ndarray | None] = list(predictor.answers([image for _, image in images]))
    except (ValueError, MemoryError, tf.errors.OpError):
        if len(images) > 1:
            # One of them is refused, or is too much; each by itself tells which.
            return [_probabilities(predictor, [image], broken)[0] for image in images]
        rows = [None]
        with broken.told(images[0][0]):
            raise
    return [_numbers(row, path, broken) for row, (path, _) in zip(rows, images, strict=True)]


def _numbers(row: np.ndarray | None, path: Place, broken: Broken) -> np.ndarray | None:
    """A row that says something."""
    if row is None or np.isfinite(row).all():
        return row
    broken.tell(f"{path}: the model does not answer with numbers (NaN or infinity).")
    return None


def picture_files(args: argparse.Namespace, paths: Sequence[Place]) -> dict[Place, Place]:
    """Where the picture of each image goes; images of one name get numbers, on file systems that ignore case too.

    Raises:
        ValueError: they would lie at an address that TensorFlow does not know.
        FileExistsError: one is there already, or is one of the images.
        ModuleNotFoundError: matplotlib is not installed.
    """
    if not args.save:
        return {}
    folder = as_place(args.save)
    new_figure(1, 1)
    pictures: dict[Place, Place] = {}
    taken: set[str] = set()
    last: dict[str, int] = {}  # the number of the last picture of a name, from which on one is free
    for path in paths:
        name = stem = _stem(path)
        while (same := _same_name(name)) in taken:
            last[_same_name(stem)] = number = last.get(_same_name(stem), 1) + 1
            name = f"{stem}-{number}"
        taken.add(same)
        pictures[path] = folder / f"{name}.png"
    images = {os.path.realpath(path) for path in paths}
    if replaced := [picture for picture in pictures.values() if os.path.realpath(picture) in images]:
        raise FileExistsError(f"{replaced[0]} is one of the images; save the pictures in another folder.")
    names = {file.name for file in folder.iterdir()} if folder.is_dir() else set()
    there = [picture for picture in pictures.values() if picture.name in names]
    if there and not args.overwrite:
        raise FileExistsError(f"{there[0]} exists already; pass --overwrite to replace it.")
    return pictures


def _stem(path: Place) -> str:
    """Name of an image without its suffix, as text, and short enough for what is put around it."""
    return os.fsencode(path.stem)[:_LONGEST_STEM].decode(errors="ignore") or "image"


def _same_name(name: str) -> str:
    """Equal where file systems take names for the same."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


class StreamedTable:
    """A table whose rows are printed as they come; so its columns have widths that are known before.

    Args:
        columns: headers, and the most cells that something below them takes. The third, a number, is aligned to the
            right.
    """

    def __init__(self, columns: dict[str, int]) -> None:
        self._columns = columns
        self._begun = False

    def print(self, rows: Sequence[Sequence[str]]) -> None:
        """Prints rows, and the header before the first ones."""
        table = Table(box=box.SIMPLE_HEAD, show_header=not self._begun, show_edge=False)
        widths = [max(width, cell_len(header)) for header, width in self._columns.items()]
        for number, (header, width) in enumerate(zip(self._columns, widths, strict=True)):
            # On a narrow terminal, names are folded and numbers are not.
            table.add_column(header, width=width, overflow="fold", no_wrap=number >= 2)
        table.columns[2].justify = "right"  # probabilities
        for row in rows:
            table.add_row(*map(Text, row))
        self._begun = True
        # A file is as wide as it must be.
        wide = SafeConsole(width=max(console.width, sum(widths) + 3 * len(widths)))
        (console if console.is_terminal else wide).print(table)


def longest(names: Iterable[object]) -> int:
    """Cells that the longest of some names takes."""
    return max((cell_len(printable(name)) for name in names), default=0)


def _rows(path: Place, predictions: Sequence[Prediction], number: str) -> list[tuple[str, str, str]]:
    return [
        ("" if place else printable(path), printable(name), number.format(value))
        for place, (_, name, value) in enumerate(predictions)
    ]


def _facts(path: Place, predictions: Sequence[Prediction], numbers: bool) -> dict[str, object]:
    if numbers:
        return {"image": str(path), "values": {name: value for _, name, value in predictions}}
    classes = [{"class": index, "label": name, "probability": share} for index, name, share in predictions]
    return {"image": str(path), "predictions": classes}
