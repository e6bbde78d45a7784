"""The page itself."""

import dataclasses
import importlib.resources
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import jinja2
import numpy as np

from keras_nest.console import printable
from keras_nest.evaluation.images import LabeledImages, images_of_run
from keras_nest.evaluation.measure import Answers, ask, figures
from keras_nest.files import atomic_output
from keras_nest.opening import LoadedModel, read_json
from keras_nest.predict.open import open_both
from keras_nest.predict.predictor import Predictor
from keras_nest.report.cards import Card, make_cards
from keras_nest.report.charts import confusion_matrix, percent, reliability_diagram
from keras_nest.report.facts import commands, draw_history, interval, kept_epoch
from keras_nest.report.mistakes import write_mistakes
from keras_nest.run_files import DECISIONS, HISTORY, METRICS, MISTAKES, REPORT
from keras_nest.training.history import read_history
from keras_nest.version import __version__

# More classes than that nobody can read in a matrix, or in a table.
_CLASSES_DRAWN, _CLASSES_LISTED, _MIXED_UP = 60, 100, 8
_PARTS = {"val": "validation", "": ""}


@dataclasses.dataclass(frozen=True)
class Measured:
    """A model, images, and what it said about them.

    Attributes:
        model: as `keras-nest predict --model` takes it.
        images: that it was asked about.
        answers: to them.
        predictor: the model.
        loaded: the same as a Keras model; None if it is none.
        weights: checkpoint, if `model` is a name.
    """

    model: str
    images: LabeledImages
    answers: Answers
    predictor: Predictor
    loaded: LoadedModel | None = None
    weights: str | None = None

    @property
    def figures(self) -> dict[str, Any]:
        """As `keras_nest.evaluation.measure.figures` gives them."""
        return figures(self.answers, self.predictor.class_names or ())


def report_run(workdir: pathlib.Path, trust: bool = False) -> pathlib.Path:
    """Measures the model of a finished training once more and writes its report; one that is there is replaced.

    The images that it is most wrong and most unsure about are a picture beside it.

    Args:
        workdir: directory of the training.
        trust: as for `keras_nest.open_model`.

    Returns:
        Path of the report.

    Raises:
        FileNotFoundError: it is no directory of a finished training, or its images are not there any more.
        ValueError: its model is none that classifies images.
    """
    if not (workdir / METRICS).is_file():
        raise FileNotFoundError(f"{workdir} is no directory of a finished training; it holds no {METRICS}.")
    images = images_of_run(workdir)
    predictor, loaded = open_both(workdir, trust=trust)
    answers = ask(predictor, images, lambda message: None)
    path = workdir / REPORT
    measured = Measured(str(workdir), images, answers, predictor, loaded)
    cards = make_cards(images, answers, predictor, loaded)
    write_mistakes(workdir / MISTAKES, cards["wrong"], cards["unsure"])
    write_report(path, measured, workdir, cards)
    return path


def write_report(
    path: pathlib.Path,
    measured: Measured,
    workdir: pathlib.Path | None = None,
    cards: dict[str, list[Card]] | None = None,
) -> None:
    """Writes a report, completely or not at all; one that is there is replaced.

    Args:
        path: of the page.
        measured: what it is about.
        workdir: directory of the training that the model comes from, if it is told.
        cards: of its images, as `make_cards` makes them; None makes them.

    Raises:
        OSError: it cannot be written, or an image cannot be read any more.
        ValueError: an image cannot be read any more.
    """
    if cards is None:
        cards = make_cards(measured.images, measured.answers, measured.predictor, measured.loaded)
    text = _environment().get_template("template.html").render(_content(measured, workdir, cards))
    with atomic_output(path, overwrite=True) as partial:
        partial.write_text(text, "utf-8")


def _environment() -> jinja2.Environment:
    """Everything that is not made here is escaped, and shown as `printable` shows it."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("keras_nest", "report"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters |= {"shown": printable, "percent": percent}
    return environment


def _content(measured: Measured, workdir: pathlib.Path | None, cards: Mapping[str, Sequence[Card]]) -> dict[str, Any]:
    found, images = measured.figures, measured.images
    metrics, plan = ({}, {}) if workdir is None else (read_json(workdir / METRICS), read_json(workdir / DECISIONS))
    rows = read_history(workdir / HISTORY) if workdir and (workdir / HISTORY).is_file() else []
    kept = kept_epoch(rows, metrics)
    request = plan.get("request")
    low, high = interval(found["top1"], found["examples"])
    part = _PARTS.get(images.part, images.part)
    return {
        "style": importlib.resources.files("keras_nest.report").joinpath("style.css").read_text("utf-8"),
        "version": __version__,
        "title": pathlib.Path(request["folder"] if request else images.name).name or images.name,
        "model": measured.model,
        "architecture": measured.loaded and measured.loaded.model.name,
        "part": part,
        "figures": found,
        "sure": float(measured.answers.confidence.mean()),
        "low": low,
        "high": high,
        "left_out": images.count - found["examples"],
        "metrics": metrics,
        "charts": draw_history(rows, kept),
        "kept": kept,
        "classes": sorted(found["classes"], key=lambda row: (not row["images"], row["f1"]))[:_CLASSES_LISTED],
        "mixed_up": _mixed_up(found),
        "matrix": _matrix(found),
        "reliability": reliability_diagram(found["calibration"]),
        "cards_of": cards,
        "has_heat": any(card.heat for card in cards["samples"]),
        "decisions": plan.get("decisions", ()),
        "remarks": plan.get("remarks", ()),
        "commands": commands(measured.model, measured.weights, request, measured.loaded is not None),
    }


def _matrix(found: Mapping[str, Any]) -> Any:
    classes = found["classes"]
    if not 1 < len(classes) <= _CLASSES_DRAWN:
        return None
    return confusion_matrix(np.array(found["confusion"]), [row["name"] for row in classes])


def _mixed_up(found: Mapping[str, Any]) -> list[tuple[str, str, int, int]]:
    """(class, what it was taken for, how often, of how many) of the most frequent mistakes."""
    counts, names = np.array(found["confusion"]), [row["name"] for row in found["classes"]]
    images = counts.sum(axis=1)
    np.fill_diagonal(counts, 0)
    order = np.argsort(-counts, axis=None, kind="stable")[:_MIXED_UP]
    pairs: Sequence[tuple[int, int]] = [divmod(int(k), len(names)) for k in order]
    return [(names[i], names[j], int(counts[i, j]), int(images[i])) for i, j in pairs if counts[i, j]]
