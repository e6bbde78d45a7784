"""What a report says in words and numbers: how sure the headline is, the curves, the commands."""

import dataclasses
import math
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from keras_nest.finetune.metadata import TABLES
from keras_nest.finetune.request import Request
from keras_nest.places import as_place
from keras_nest.report.charts import Line, curves
from keras_nest.targets import SINGLE_LABEL
from keras_nest.training.history import Row

_TITLES = {"mae": "mean error"}
_SURE = 1.96  # standard deviations that hold 95 %


def interval(share: float, images: int) -> tuple[float, float]:
    """Where a share lies with 95 % that was measured on so many images: Wilson's interval."""
    square = _SURE**2 / images
    middle = (share + square / 2) / (1 + square)
    half = _SURE / (1 + square) * math.sqrt(share * (1 - share) / images + square / (4 * images))
    return max(0.0, middle - half), min(1.0, middle + half)


def draw_history(rows: Sequence[Row], kept: float | None) -> dict[str, Markup]:
    """Charts of the "loss" and the "accuracy" or the "mae" over the epochs; none of a run that has no history.

    Args:
        rows: of history.csv.
        kept: the epoch whose weights are kept.
    """
    charts = {}
    for quantity, is_share in (("loss", False), ("accuracy", True), ("mae", False)):
        lines = [
            Line(style, _points(rows, name)) for style, name in (("train", quantity), ("eval", f"eval_{quantity}"))
        ]
        lines = [line for line in lines if line.points]
        if lines:
            charts[_TITLES.get(quantity, quantity)] = curves(lines, f"{quantity} over the epochs", is_share, kept)
    return charts


def _points(rows: Sequence[Row], name: str) -> list[tuple[float, float]]:
    return [(row["epoch"], row[name]) for row in rows if name in row and math.isfinite(row[name])]


def kept_epoch(rows: Sequence[Row], metrics: Mapping[str, Any]) -> float | None:
    """The epoch whose weights are kept, 0 for those that it started from; None if that is not known."""
    if metrics.get("best_step") == 0:
        return 0.0
    found = [row["epoch"] for row in rows if row["step"] == metrics.get("best_step")]
    return found[0] if found else None


def commands(
    model: str, weights: str | None, request: Mapping[str, Any] | None, is_keras: bool
) -> list[tuple[str, str]]:
    """(what it does, command line) of what can be done next.

    Args:
        model: as `predict` takes it.
        weights: checkpoint, if that is a name.
        request: of a fine-tuning, as finetune.json has it; None for another model.
        is_keras: whether it is a Keras model, which alone is explained and exported.
    """
    place = shlex.quote(model) + (f" --weights {shlex.quote(weights)}" if weights else "")
    given = "" if request is None else str(request["folder"])
    folder = shlex.quote(given) if given and not given.lower().endswith(TABLES) else "IMAGE"
    other = "FOLDER" if request is None or request.get("task", SINGLE_LABEL) == SINGLE_LABEL else "FILE.csv"
    lines = [("Train it again", _again(request, model))] if request else []
    lines += [
        ("Ask the model", f"keras-nest predict {folder} --model {place}"),
        ("Measure it on other images", f"keras-nest evaluate {place} --data {other}"),
    ]
    if is_keras:
        lines += [
            ("See where an answer comes from", f"keras-nest explain IMAGE --model {place} --method cam --save answers"),
            ("Export it", f"keras-nest export {place} --format saved_model --output models"),
        ]
    return lines


def _again(request: Mapping[str, Any], workdir: str) -> str:
    """The command line of a fine-tuning: what is not as it is by default."""
    defaults = {field.name: field.default for field in dataclasses.fields(Request)}
    words = ["keras-nest", "finetune", shlex.quote(str(request["folder"]))]
    for name, value in request.items():
        if name != "folder" and value != defaults.get(name) and value is not None:
            flag = f"--{name.replace('_', '-')}"
            words += [flag] if value is True else [flag, shlex.quote(str(value))]
    place = as_place(workdir)
    again = place.with_name(f"{place.name}-again")
    return " ".join([*words, "--workdir", shlex.quote(str(again))])
