"""What `evaluate` and `finetune` say of images that have several classes or a number."""

import csv
from collections.abc import Mapping
from typing import Any

import numpy as np

from keras_nest.console import cell
from keras_nest.evaluation.other_tasks import AllAnswers
from keras_nest.outputs import output_at
from keras_nest.places import Place
from keras_nest.targets import REGRESSION, SEPARATOR


def other_facts(measured: Mapping[str, Any], what: str = "images") -> dict[str, str]:
    """Figures in words.

    Args:
        measured: those of `keras_nest.scores`, `examples` and `loss`.
        what: the images are.
    """
    count = f"{measured['examples']:,} {what}"
    if "mae" in measured:
        r2 = {"R²": f"{measured['r2']:.4f}"} if measured["r2"] is not None else {}
        return {
            "mean error": f"{measured['mae']:.4g}, {count}",
            "root of the mean square": f"{measured['rmse']:.4g}",
            **r2,
        }
    mean = "not known, as no image has a class" if measured["map"] is None else f"{measured['map']:.2%}"
    return {
        "mean average precision": f"{mean}, {count}",
        "F1, mean of the classes": f"{measured['macro_f1']:.2%}",
        "every class right": f"{measured['exact']:.2%} of the images",
        "loss": f"{measured['loss']:.4f}",
    }


def write_rows(path: Place, found: AllAnswers) -> None:
    """Writes a row for each image, the most wrong first: its number and the answer, or its classes and those predicted.

    Beside classes stand the probabilities of all.
    """
    is_number = found.task == REGRESSION
    told = (
        ("number", "answer", "error") if is_number else ("classes", "predicted", "loss", *map(cell, found.class_names))
    )
    with output_at(path, overwrite=True) as partial, partial.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("file", *told))
        for i in np.argsort(-found.losses, kind="stable"):
            writer.writerow((cell(found.names[i]), *(_number_cells(found, i) if is_number else _class_cells(found, i))))


def _number_cells(found: AllAnswers, i: int) -> list[str]:
    (number,), (answer,) = found.truth[i], found.answers[i]
    return [f"{value:.6g}" for value in (number, answer, answer - number)]


def _class_cells(found: AllAnswers, i: int) -> list[str]:
    names = np.array(found.class_names)
    sets = [SEPARATOR.join(names[has]) for has in (found.truth[i] > 0, found.predicted[i])]
    return [*map(cell, sets), f"{found.losses[i]:.6g}", *(f"{share:.6g}" for share in found.answers[i])]
