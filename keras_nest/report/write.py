"""The page itself."""

import dataclasses
import importlib.resources
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import jinja2
import numpy as np

from keras_nest.console import printable
from keras_nest.evaluation.images import LabeledImages, Tell, images_of_run
from keras_nest.evaluation.measure import Answers, ask, figures
from keras_nest.evaluation.other_tasks import HALF, AllAnswers, ask_all
from keras_nest.mirror import run_directory
from keras_nest.opening import LoadedModel, read_json
from keras_nest.outputs import output_at
from keras_nest.places import Place, as_place, shown, telling_addresses
from keras_nest.predict.open import open_both
from keras_nest.predict.predictor import Predictor
from keras_nest.report.cards import Card, make_cards, make_cards_of_all
from keras_nest.report.charts import confusion_matrix, percent, reliability_diagram, scatter
from keras_nest.report.facts import commands, draw_history, interval, kept_epoch
from keras_nest.report.mistakes import write_mistakes
from keras_nest.run_files import DECISIONS, HISTORY, METRICS, MISTAKES, REPORT
from keras_nest.targets import REGRESSION
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
    answers: Answers | AllAnswers
    predictor: Predictor
    loaded: LoadedModel | None = None
    weights: str | None = None

    @property
    def figures(self) -> dict[str, Any]:
        """As `keras_nest.evaluation.measure.figures` gives them."""
        if isinstance(self.answers, AllAnswers):
            return self.answers.figures()
        return figures(self.answers, self.predictor.class_names or ())

    def make_cards(self) -> dict[str, list[Card]]:
        """Cards of its images; errors are those of `keras_nest.report.cards.make_cards`."""
        if isinstance(self.answers, AllAnswers):
            return make_cards_of_all(self.images, self.answers, self.loaded)
        return make_cards(self.images, self.answers, self.predictor, self.loaded)


@telling_addresses()
def report_run(workdir: str | os.PathLike[str], trust: bool = False) -> Place:
    """Measures the model of a finished training once more and writes its report; one that is there is replaced.

    The images that it is most wrong and most unsure about are a picture beside it.

    Args:
        workdir: directory of the training, on this machine or at an address.
        trust: as for `keras_nest.open_model`.

    Returns:
        Path of the report.

    Raises:
        FileNotFoundError: it is no directory of a finished training, or its images are not there any more.
        ValueError: its model is none that classifies images.
        OSError: the address cannot be read or written to.
    """
    place, workdir = as_place(workdir), run_directory(workdir)
    if not (workdir / METRICS).is_file():
        raise FileNotFoundError(f"{place} is no directory of a finished training; it holds no {METRICS}.")
    images = images_of_run(workdir)
    predictor, loaded = open_both(workdir, trust=trust)
    measured = measure(shown(place), images, predictor, loaded)
    cards = measured.make_cards()
    if images.target.is_single_label:
        write_mistakes(place / MISTAKES, cards["wrong"], cards["unsure"])
    write_report(place / REPORT, measured, workdir, cards)
    return place / REPORT


def measure(
    model: str,
    images: LabeledImages,
    predictor: Predictor,
    loaded: LoadedModel | None = None,
    weights: str | None = None,
    tell: Tell = lambda message: None,
    **options: Any,
) -> Measured:
    """Asks a model about images, whatever they tell.

    Args:
        model: as for `Measured`, with the next four.
        images: see there.
        predictor: see there.
        loaded: see there.
        weights: see there.
        tell: is given a sentence on each image that cannot be read, which is left out.
        **options: `batch_size` and `progress` of `keras_nest.evaluation.measure.ask`.

    Raises:
        ValueError: as `ask` and `ask_all`.
    """
    if images.target.is_single_label:
        return Measured(model, images, ask(predictor, images, tell, **options), predictor, loaded, weights)
    metrics = loaded.metrics if loaded else None
    found = ask_all(predictor, images, tell, **options, metrics=metrics)
    return Measured(model, images, found, predictor, loaded, weights)


def write_report(
    path: Place,
    measured: Measured,
    workdir: pathlib.Path | None = None,
    cards: dict[str, list[Card]] | None = None,
) -> None:
    """Writes a report, completely or not at all; one that is there is replaced.

    Args:
        path: of the page.
        measured: what it is about.
        workdir: directory of the training that the model comes from, if it is told.
        cards: of its images, as `Measured.make_cards` makes them; None makes them.

    Raises:
        OSError: it cannot be written, or an image cannot be read any more.
        ValueError: an image cannot be read any more.
    """
    if cards is None:
        cards = measured.make_cards()
    if isinstance(measured.answers, AllAnswers):
        template, special = "other_tasks.html", _of_other_tasks(measured.answers)
    else:
        template, special = "classes.html", _of_classes(measured.answers, measured.figures)
    text = _environment().get_template(template).render(_content(measured, workdir, cards) | special)
    with output_at(path, overwrite=True) as partial:
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
    part = _PARTS.get(images.part, images.part)
    return {
        "style": importlib.resources.files("keras_nest.report").joinpath("style.css").read_text("utf-8"),
        "version": __version__,
        "title": pathlib.Path(request["folder"] if request else images.name).name or images.name,
        "model": measured.model,
        "architecture": measured.loaded and measured.loaded.model.name,
        "part": part,
        "figures": found,
        "left_out": images.count - found["examples"],
        "metrics": metrics,
        "charts": draw_history(rows, kept),
        "kept": kept,
        "cards_of": cards,
        "has_heat": any(card.heat for card in cards["samples"]),
        "decisions": plan.get("decisions", ()),
        "remarks": plan.get("remarks", ()),
        "commands": commands(measured.model, measured.weights, request, measured.loaded is not None),
    }


def _of_classes(answers: Answers, found: Mapping[str, Any]) -> dict[str, Any]:
    """What the page of images with one class each has of its own."""
    low, high = interval(found["top1"], found["examples"])
    return {
        "headline": f"{percent(found['top1'])} right",
        "sure": float(answers.confidence.mean()),
        "low": low,
        "high": high,
        "classes": sorted(found["classes"], key=lambda row: (not row["images"], row["f1"]))[:_CLASSES_LISTED],
        "mixed_up": _mixed_up(found),
        "matrix": _matrix(found),
        "reliability": reliability_diagram(found["calibration"]),
    }


def _of_other_tasks(answers: AllAnswers) -> dict[str, Any]:
    """What the page of images with several classes or a number has of its own."""
    found, name = answers.figures(), answers.class_names[0]
    if answers.task == REGRESSION:
        picture = scatter(answers.truth[:, 0].tolist(), answers.answers[:, 0].tolist(), name)
        return {"headline": f"mean error {found['mae']:.3g}", "classes": [], "name": name, "scatter": picture}
    rows = sorted(found["classes"], key=lambda row: (not row["images"], row["f1"]))[:_CLASSES_LISTED]
    return {
        "headline": f"mean average precision {percent(found['map'])}",
        "classes": rows,
        "scatter": None,
        "has_thresholds": any(each != HALF for each in answers.thresholds),
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
