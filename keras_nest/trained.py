"""A trained model with what is known about it: class names, metrics, configuration."""

import dataclasses
import json
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from keras_nest import registry
from keras_nest.factory import create_model
from keras_nest.files import check_local, read_lines
from keras_nest.models.base import PublishedModel, read_model
from keras_nest.run_files import CLASSES, CONFIG, METRICS, MODEL


@dataclasses.dataclass(frozen=True)
class Trained:
    """A model and what lies beside it.

    Attributes:
        model: with its weights.
        class_names: one name for each of the model's classes, in the order of the logits; None if they are not known.
        metrics: content of the run's metrics.json; empty if there is none.
        config: content of the run's config.json; empty if there is none.
    """

    model: PublishedModel
    class_names: tuple[str, ...] | None = None
    metrics: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    config: Mapping[str, Any] = dataclasses.field(default_factory=dict)


def read_trained(
    source: str | os.PathLike[str],
    weights: str | None = None,
    labels: str | os.PathLike[str] | None = None,
    trust: bool = False,
) -> Trained:
    """Reads a trained model, wherever it lies.

    Args:
        source: a .keras file, a working directory of `train_keras.py`, or with `weights` the name of a model.
        weights: a checkpoint as `create_model` takes it.
        labels: file of class names, one a line, UTF-8; None takes classes.txt beside the .keras file if it is there.
        trust: as `read_model` takes it.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the source is no model, the weights do not fit, or there are not as many names as classes.
    """
    if weights is not None:
        model = create_model(os.fspath(source), weights=weights, trust=trust)
        return Trained(model, read_class_names(labels, model.num_classes) if labels else None)
    path = _model_file(os.fspath(source))
    model, folder = read_model(path, trust), pathlib.Path(path).parent
    beside = folder / CLASSES
    if labels is None and model.num_classes and beside.is_file():
        labels = beside
    names = read_class_names(labels, model.num_classes) if labels else None
    # Only in the directory of a run do these files belong to the model for certain.
    facts = {"metrics": METRICS, "config": CONFIG} if os.path.isdir(source) else {}
    return Trained(model, names, **{field: read_json(folder / file) for field, file in facts.items()})


def read_class_names(path: str | os.PathLike[str], num_classes: int) -> tuple[str, ...]:
    """Class names from a text file, one a line.

    Args:
        path: the file, UTF-8.
        num_classes: how many there must be.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no text, or holds another number of names.
    """
    return check_class_names(read_lines(path, "class name"), num_classes, f"{path} has")


def check_class_names(names: Sequence[str], num_classes: int, what: str = "There are") -> tuple[str, ...]:
    """Class names, if there is one for each class.

    Args:
        names: in the order of the logits.
        num_classes: of the model.
        what: begins the message.

    Raises:
        ValueError: says both numbers.
    """
    if len(names) != num_classes:
        raise ValueError(f"{what} {len(names)} class names for {num_classes} classes; there must be one for each.")
    return tuple(names)


def _model_file(source: str) -> str:
    if os.path.isdir(source):
        return os.path.join(source, MODEL)
    if not source.endswith(".keras") and not os.path.exists(source):
        check_local(source)
        if os.path.dirname(source):
            raise FileNotFoundError(f"There is no {source}; give a .keras file or the directory of a training.")
        registry.resolve(source)  # a name that does not exist is told as such
        raise ValueError(f"{source} is the name of a model, not a trained one; add its weights (--weights CHECKPOINT).")
    return source


def read_json(path: pathlib.Path) -> dict[str, Any]:
    """A file that a training left, as CONFIG or METRICS; empty if there is none."""
    return json.loads(path.read_text("utf-8")) if path.is_file() else {}
