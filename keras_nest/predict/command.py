"""`keras-nest predict`: what a model takes images for."""

import argparse
import json
import pathlib
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import TypeAlias

import numpy as np
from rich.markup import escape
from rich.progress import track
from rich.table import Table

from keras_nest.console import add_trust_argument, console
from keras_nest.files import check_local
from keras_nest.predict.images import find_images, read_images
from keras_nest.predict.open import open_predictor
from keras_nest.predict.picture import save_picture
from keras_nest.predict.predictor import Predictor

# Shorter lists are done before a bar could be read.
_BAR_FROM = 20

Answer: TypeAlias = tuple[int, str, float]
"""A class: index, name, probability."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments of `predict` on a parser."""
    add_model_arguments(parser, ".keras file, directory of a training, SavedModel, .tflite file")
    add_answer_arguments(parser)


def add_model_arguments(parser: argparse.ArgumentParser, kinds: str) -> None:
    """Declares images and a model with its class names.

    Args:
        parser: takes the arguments.
        kinds: of models, beside the name of one.
    """
    parser.add_argument("images", nargs="+", metavar="IMAGE", help="files, folders, or globs such as 'photos/*.jpg'")
    model = f"{kinds}, or with --weights the name of a model"
    parser.add_argument("--model", required=True, metavar="M", help=model)
    parser.add_argument("--weights", metavar="CHECKPOINT", help="for the name of a model")
    parser.add_argument("--labels", metavar="FILE", help="class names, one a line (default: those of the model)")
    add_trust_argument(parser)


def add_answer_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares what `answer` reads, but for the images."""
    parser.add_argument("--top", type=int, default=5, metavar="N", help="classes shown an image (default: %(default)s)")
    parser.add_argument("--batch", type=int, default=32, metavar="N", help="images at a time (default: %(default)s)")
    parser.add_argument("--save", metavar="DIR", help="write a picture of each image beside its classes, DIR/NAME.png")
    parser.add_argument("--overwrite", action="store_true", help="replace pictures that are there")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")


def main(args: argparse.Namespace) -> int:
    """Prints the most probable classes of each image; returns as `answer` does.

    Raises:
        ValueError: the model is none that classifies, or an option is out of range.
        OSError: model or images are not there, or a picture exists.
        ModuleNotFoundError: pictures need matplotlib.
    """
    return answer(args, lambda: open_predictor(args.model, args.weights, args.labels, args.trust))


def check_counts(args: argparse.Namespace) -> None:
    """Refuses numbers of classes or images below 1.

    Raises:
        ValueError: names the option.
    """
    for option in ("top", "batch"):
        if getattr(args, option) < 1:
            raise ValueError(f"--{option} is {getattr(args, option)}; it must be 1 or more.")


def answer(args: argparse.Namespace, open_model: Callable[[], Predictor]) -> int:
    """Prints the most probable classes of each image; returns 1 if an image could not be read, else 0.

    Args:
        args: `images` and those of `add_answer_arguments`.
        open_model: is called when what else was asked for is found to be possible.

    Raises:
        ValueError: an option is out of range.
        OSError: images are not there, or a picture exists.
        ModuleNotFoundError: pictures need matplotlib.
    """
    check_counts(args)
    paths = find_images(args.images)
    pictures = picture_files(args, paths)
    predictor = open_model()
    rows: list[tuple[pathlib.Path, list[Answer]]] = []
    broken: list[str] = []
    for path, image, answers in _answers(predictor, paths, args, broken):
        rows.append((path, answers))
        if pictures:
            save_picture(pictures[path], image, path.name, [answer[1:] for answer in answers], args.overwrite)
    (_print_json if args.json else _print_table)(rows)
    return tell_broken(broken)


def tell_broken(broken: Sequence[str]) -> int:
    """Prints what was wrong with images to the standard error; returns 1 if there were any, else 0."""
    for message in broken:
        print(f"error: {message}", file=sys.stderr)
    return 1 if broken else 0


def _answers(
    predictor: Predictor, paths: Sequence[pathlib.Path], args: argparse.Namespace, broken: list[str]
) -> Iterator[tuple[pathlib.Path, np.ndarray, list[Answer]]]:
    """Images with their answers; what cannot be read is told in `broken`, and the others go on."""
    starts = range(0, len(paths), args.batch)
    silent = len(paths) < _BAR_FROM or not console.is_terminal or args.json
    for start in track(starts, "predicting", console=console, transient=True, disable=silent):
        images = dict(read_images(paths[start : start + args.batch], broken))
        if images:
            probabilities = predictor.probabilities(list(images.values()))
            for (path, image), row in zip(images.items(), probabilities, strict=True):
                best = np.argsort(-row, kind="stable")[: args.top]
                yield path, image, [(int(k), predictor.name_of(k), float(row[k])) for k in best]


def picture_files(args: argparse.Namespace, paths: Sequence[pathlib.Path]) -> dict[pathlib.Path, pathlib.Path]:
    """Where the picture of each image goes; images of one name get numbers.

    Raises:
        ValueError: they would lie at an address such as gs://….
        FileExistsError: one is there already.
    """
    if not args.save:
        return {}
    check_local(args.save)
    pictures: dict[pathlib.Path, pathlib.Path] = {}
    for path in paths:
        same = sum(other.stem == path.stem for other in pictures)
        pictures[path] = pathlib.Path(args.save, f"{path.stem}-{same + 1}.png" if same else f"{path.stem}.png")
    there = [picture for picture in pictures.values() if picture.exists()]
    if there and not args.overwrite:
        raise FileExistsError(f"{there[0]} exists already; pass --overwrite to replace it.")
    return pictures


def _print_table(rows: Sequence[tuple[pathlib.Path, list[Answer]]]) -> None:
    table = Table("image", "class", "probability")
    table.columns[2].justify = "right"
    for path, answers in rows:
        for number, (_, name, probability) in enumerate(answers):
            last = number == len(answers) - 1
            table.add_row("" if number else escape(str(path)), escape(name), f"{probability:.2%}", end_section=last)
    if rows:
        console.print(table)


def _print_json(rows: Sequence[tuple[pathlib.Path, list[Answer]]]) -> None:
    """On one line an image, so that long lists can be read as they come."""
    for path, answers in rows:
        classes = [{"class": index, "label": name, "probability": share} for index, name, share in answers]
        print(json.dumps({"image": str(path), "predictions": classes}, ensure_ascii=False))
