"""`keras-nest evaluate`: how good a model of any kind is on labeled images."""

import argparse
import csv
import functools
import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from rich.progress import track

from keras_nest.cli.answers import Broken
from keras_nest.cli.class_table import print_classes
from keras_nest.cli.other_tasks import other_facts, write_rows
from keras_nest.console import cell, console, print_facts, print_json
from keras_nest.data.sources.table import rows_of_run
from keras_nest.evaluation.images import LabeledImages, images_of_run, open_images
from keras_nest.evaluation.other_tasks import AllAnswers
from keras_nest.figures import check_picture
from keras_nest.finetune.metadata import TABLES
from keras_nest.finetune.split import TRAIN
from keras_nest.mirror import run_directory
from keras_nest.opening import LoadedModel
from keras_nest.outputs import output_at
from keras_nest.places import Place, as_place, is_dir, shown
from keras_nest.predict.open import open_both
from keras_nest.predict.predictor import Predictor
from keras_nest.report.write import Measured, measure, write_report
from keras_nest.targets import SINGLE_LABEL
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
    outputs = [as_place(path) for path in args.save]
    images = None if _is_list(args) else _open_images(args)
    predictor, loaded = open_both(args.model, args.weights, args.labels, args.trust)
    images = images or _open_images(args, _usual_task(predictor, loaded))
    _check_outputs(outputs, images, args.overwrite)
    broken = Broken()
    hidden = images.count < _BAR_FROM or not console.is_terminal or args.json
    bar = functools.partial(track, description="evaluating", console=console, transient=True, disable=hidden)
    options = {"batch_size": args.batch, "progress": lambda some, count: bar(some, total=count)}
    measured = measure(args.model, images, predictor, loaded, args.weights, broken.tell, **options)
    answers = measured.answers
    facts = {"model": args.model, "data": shown(images.name), "part": images.part, **measured.figures}
    facts["left_out"] = images.count - len(answers.names)
    facts["trained_with"] = _count_trained_with(args.weights or args.model, answers.names)
    if args.json:
        print_json(facts)
    else:
        _print(facts)
    for path in outputs:
        _WRITERS.get(path.suffix.lower(), _write_picture)(path, measured, facts)
    return broken.code


def _is_list(args: argparse.Namespace) -> bool:
    """Whether the images are those of a list, or of a folder with one, as far as that shows in its name."""
    return bool(args.data) and (is_dir(os.path.expanduser(args.data)) or args.data.lower().endswith(TABLES))


def _usual_task(predictor: Predictor, loaded: LoadedModel | None) -> str:
    """What a list tells if nothing else is said: what the model's training was measured by, or what it answers."""
    return SINGLE_LABEL if loaded and "top1" in loaded.metrics else predictor.task


def _open_images(args: argparse.Namespace, task: str = SINGLE_LABEL) -> LabeledImages:
    if args.data:
        return open_images(args.data, args.split, args.data_dir, args.label_column, args.task or task)
    if args.task or args.label_column:
        raise ValueError("--task and --label-column are for --data; the images of a training say it themselves.")
    run = run_directory(args.weights or args.model)
    if not run.is_dir():
        raise ValueError("Only the directory of a training tells which images to measure with; give some with --data.")
    return images_of_run(run, args.split)


def _count_trained_with(model: str, names: Sequence[str]) -> int:
    """How many of these images a fine-tuning was trained with, as far as the list beside the model tells."""
    trained = {os.path.realpath(row.file) for row in rows_of_run(model) if row.part == TRAIN}
    return sum(os.path.realpath(name) in trained for name in names)


def _check_outputs(outputs: Sequence[Place], images: LabeledImages, overwrite: bool) -> None:
    """What is wrong with the outputs is said before the work."""
    for path in outputs:
        if path.suffix.lower() not in _WRITERS:
            check_picture(path)
            if not images.target.is_single_label:
                raise ValueError(
                    f"{path} would be a confusion matrix, which images of {images.target.task} do not have; --save "
                    "FILE.html draws what they have."
                )
        if path.exists() and not overwrite:
            raise FileExistsError(f"{path} exists already; pass --overwrite to replace it.")


def _write_figures(path: Place, measured: Measured, facts: dict[str, Any]) -> None:
    write_json(path, facts)


def _write_rows(path: Place, measured: Measured, facts: dict[str, Any]) -> None:
    """A row for each image, the most wrong first."""
    answers, name_of = measured.answers, measured.predictor.name_of
    if isinstance(answers, AllAnswers):
        write_rows(path, answers)
        return
    with output_at(path, overwrite=True) as partial, partial.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("file", "class", "predicted", "probability", "lead", "loss"))
        for i in np.lexsort((-answers.losses, answers.right)):
            classes = cell(name_of(answers.labels[i])), cell(name_of(answers.predicted[i]))
            numbers = (f"{column[i]:.6g}" for column in (answers.confidence, answers.lead, answers.losses))
            writer.writerow((cell(answers.names[i]), *classes, *numbers))


def _write_page(path: Place, measured: Measured, facts: dict[str, Any]) -> None:
    run = run_directory(measured.model)
    write_report(path, measured, run if run.is_dir() and measured.loaded else None)


def _write_picture(path: Place, measured: Measured, facts: dict[str, Any]) -> None:
    names = [row["name"] for row in facts["classes"]]
    if len(names) > _CLASSES_DRAWN:
        raise ValueError(f"{len(names)} classes are too many for {path}; --save FILE.json has all counts.")
    write_confusion(path, np.array(facts["confusion"]), names)


_WRITERS: dict[str, Callable[[Place, Measured, dict[str, Any]], None]] = {
    ".json": _write_figures,
    ".csv": _write_rows,
    ".html": _write_page,
}


def _print(measured: dict[str, Any]) -> None:
    part = f" ({measured['part']})" if measured["part"] else ""
    facts = (
        other_facts(measured)
        if "top1" not in measured
        else {
            "right": f"{measured['top1']:.2%} of {measured['examples']:,} images",
            "right among the first five": f"{measured['top5']:.2%}",
            "loss": f"{measured['loss']:.4f}",
            "F1, mean of the classes": f"{measured['macro_f1']:.2%}",
            "calibration error": f"{measured['ece']:.2%}, how far probabilities and the share that is right are apart",
        }
    )
    if measured["left_out"]:
        facts["left out"] = f"{measured['left_out']:,}, which cannot be read"
    if measured["trained_with"]:
        facts["trained with"] = f"{measured['trained_with']:,} of these; it does worse on new images"
    print_facts(f"{measured['model']} on {measured['data']}{part}", facts)
    print_classes(measured.get("classes", ()))
