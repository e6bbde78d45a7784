"""`keras-nest evaluate`: how good a model of any kind is on labeled images."""

import argparse
import csv
import functools
import os
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from rich.markup import escape
from rich.progress import track

from keras_nest.cli.answers import Broken
from keras_nest.cli.class_table import print_classes
from keras_nest.console import console, print_facts, print_json, printable
from keras_nest.data.sources.table import rows_of_run
from keras_nest.evaluation.images import LabeledImages, images_of_run, open_images
from keras_nest.evaluation.measure import ask
from keras_nest.figures import check_picture
from keras_nest.files import atomic_output
from keras_nest.finetune.split import TRAIN
from keras_nest.predict.open import open_both
from keras_nest.report.write import Measured, write_report
from keras_nest.training.pictures import write_confusion
from keras_nest.training.workdir import write_json

_BAR_FROM = 20
# More classes than that nobody can read in a picture.
_CLASSES_DRAWN = 100


def main(args: argparse.Namespace) -> int:
    """Measures a model, prints the figures and writes what is asked for.

    Returns:
        Exit code: 1 if an image could not be read, else 0.

    Raises:
        ValueError: the model is none that classifies, its classes are not those of the images, or an option is wrong.
        OSError: model or images are not there, or a file exists.
        ModuleNotFoundError: the package that reads the data set is not installed.
    """
    if args.batch < 1:
        raise ValueError(f"--batch is {args.batch}; it must be 1 or more.")
    _check_outputs(args)
    images = _open_images(args)
    predictor, loaded = open_both(args.model, args.weights, args.labels, args.trust)
    broken = Broken()
    hidden = images.count < _BAR_FROM or not console.is_terminal or args.json
    bar = functools.partial(track, description="evaluating", console=console, transient=True, disable=hidden)
    answers = ask(predictor, images, broken.tell, args.batch, lambda some, count: bar(some, total=count))
    measured = Measured(args.model, images, answers, predictor, loaded, args.weights)
    facts = {"model": args.model, "data": images.name, "part": images.part, **measured.figures}
    facts["left_out"] = images.count - len(answers.names)
    facts["trained_with"] = _count_trained_with(args.weights or args.model, answers.names)
    if args.json:
        print_json(facts)
    else:
        _print(facts)
    for path in args.save:
        _WRITERS.get(path.suffix.lower(), _write_picture)(path, measured, facts)
    return broken.code


def _open_images(args: argparse.Namespace) -> LabeledImages:
    if args.data:
        return open_images(args.data, args.split, args.data_dir)
    run = pathlib.Path(args.weights or args.model)
    if not run.is_dir():
        raise ValueError("Only the directory of a training tells which images to measure with; give some with --data.")
    return images_of_run(run, args.split)


def _count_trained_with(model: str, names: Sequence[str]) -> int:
    """How many of these images a fine-tuning was trained with, as far as the list beside the model tells."""
    trained = {os.path.realpath(row.file) for row in rows_of_run(model) if row.part == TRAIN}
    return sum(os.path.realpath(name) in trained for name in names)


def _check_outputs(args: argparse.Namespace) -> None:
    """What is wrong with the outputs is said before the work."""
    for path in args.save:
        if path.suffix.lower() not in _WRITERS:
            check_picture(path)
        if path.exists() and not args.overwrite:
            raise FileExistsError(f"{path} exists already; pass --overwrite to replace it.")


def _write_figures(path: pathlib.Path, measured: Measured, facts: dict[str, Any]) -> None:
    write_json(path, facts)


def _write_rows(path: pathlib.Path, measured: Measured, facts: dict[str, Any]) -> None:
    """A row for each image, the most wrong first."""
    answers, name_of = measured.answers, measured.predictor.name_of
    with atomic_output(path, overwrite=True) as partial, partial.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("file", "class", "predicted", "probability", "lead", "loss"))
        for i in np.lexsort((-answers.losses, answers.right)):
            classes = name_of(answers.labels[i]), name_of(answers.predicted[i])
            numbers = (f"{column[i]:.6g}" for column in (answers.confidence, answers.lead, answers.losses))
            writer.writerow((answers.names[i], *classes, *numbers))


def _write_page(path: pathlib.Path, measured: Measured, facts: dict[str, Any]) -> None:
    run = pathlib.Path(measured.model)
    write_report(path, measured, run if run.is_dir() and measured.loaded else None)


def _write_picture(path: pathlib.Path, measured: Measured, facts: dict[str, Any]) -> None:
    names = [row["name"] for row in facts["classes"]]
    if len(names) > _CLASSES_DRAWN:
        raise ValueError(f"{len(names)} classes are too many for {path}; --save FILE.json has all counts.")
    write_confusion(path, np.array(facts["confusion"]), names)


_WRITERS: dict[str, Callable[[pathlib.Path, Measured, dict[str, Any]], None]] = {
    ".json": _write_figures,
    ".csv": _write_rows,
    ".html": _write_page,
}


def _print(measured: dict[str, Any]) -> None:
    part = f" ({measured['part']})" if measured["part"] else ""
    facts = {
        "right": f"{measured['top1']:.2%} of {measured['examples']:,} images",
        "right among the first five": f"{measured['top5']:.2%}",
        "loss": f"{measured['loss']:.4f}",
        "F1, mean of the classes": f"{measured['macro_f1']:.2%}",
        "calibration error": f"{measured['ece']:.2%}, how far probabilities and the share that is right are apart",
    }
    if measured["left_out"]:
        facts["left out"] = f"{measured['left_out']:,}, which cannot be read"
    if measured["trained_with"]:
        facts["trained with"] = f"{measured['trained_with']:,} of these; new images are less often right"
    print_facts(escape(printable(f"{measured['model']} on {measured['data']}{part}")), facts)
    print_classes(measured["classes"])
