"""Opening models: a .keras file, the directory of a training, or a published name with its checkpoint.

>>> loaded = keras_nest.open_model("runs/digits")
>>> loaded.model, loaded.class_names, loaded.metrics["top1"]
"""

import dataclasses
import functools
import logging
import os
from collections.abc import Mapping
from typing import Any, NamedTuple, NoReturn

import keras

from keras_nest import buckets
from keras_nest.class_names import read_class_names
from keras_nest.conversion.augreg_index import parse_model_name
from keras_nest.conversion.hugging_face import on_this_machine
from keras_nest.conversion.pytorch.files import is_pytorch
from keras_nest.conversion.sources import locate, told
from keras_nest.copies import cached
from keras_nest.exported import find_saved_model, refuse_export
from keras_nest.factory import create_model
from keras_nest.models import LiT
from keras_nest.models.base import ConfiguredModel, published_class_names, read_model
from keras_nest.models.keras_file import find_keras_file
from keras_nest.models.timm import find_timm_model
from keras_nest.models.user_model import as_image_model
from keras_nest.places import Place, as_place
from keras_nest.processes import check_process
from keras_nest.registry import is_name, resolve
from keras_nest.run_files import CLASSES, CONFIG, METRICS, MODEL, VOCABULARIES
from keras_nest.untrusted.json_text import read_object

_LOGGER = logging.getLogger("keras_nest")
_REMEDY = (
    "give a .keras file, the directory of a finished training, or the name of a model with its weights "
    "(--weights CHECKPOINT, weights=…)."
)


@dataclasses.dataclass(frozen=True)
class LoadedModel:
    """A Keras model with its weights, and what is known about it.

    Attributes:
        model: a `NesT`, `VisionTransformer`, …, `LiT` or `NesTGenerator`, or a user's model around one of images.
        class_names: one name for each of the model's classes, in the order of the logits; None if they are not known.
        metrics: content of the metrics.json of its training; empty if there is none.
        config: content of the config.json of its training; empty if there is none.
        vocabulary: file for `get_tokenizer` that belongs to a LiT; None if there is none.
    """

    model: Any
    class_names: tuple[str, ...] | None = None
    metrics: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    config: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    vocabulary: Place | None = None

    @functools.cached_property
    def image_model(self) -> Any:
        """The model as an image model: itself, or a user's as a `UserModel`.

        Raises:
            ValueError: it takes no images, or what images it takes cannot be told.
        """
        return as_image_model(self.model)


class ModelSource(NamedTuple):
    """Where a model is to be had, before anything of it is read.

    Attributes:
        name: a published name; None where the checkpoint tells it.
        checkpoint: what `create_model(weights=…)` takes.
    """

    name: str | None
    checkpoint: str


def open_model(
    source: str | os.PathLike[str],
    weights: str | os.PathLike[str] | None = None,
    labels: str | os.PathLike[str] | None = None,
    trust: bool = False,
    untrained: bool = False,
) -> LoadedModel:
    """Opens a model, wherever it lies: the one function behind all commands and training configurations.

    Args:
        source: a .keras file or the working directory of a training (local, or an address such as "gs://…"), a
            published checkpoint whose file name tells its model, a handle of the hub ("hf://OWNER/NAME"), or a name of
            `list_models` with `weights`.
        weights: checkpoint for the name, whatever `create_model(weights=…)` takes: a directory of a training too.
        labels: file of class names, one a line, UTF-8; None takes classes.txt beside the .keras file if it is there,
            and else the names of ImageNet if the head is a published one.
        trust: also read a .keras file that carries code, which runs then; see `HubLayer`.
        untrained: a name without weights is allowed, and makes a model with new ones.

    Returns:
        The model and what is known about it. Metrics and configuration are those of a training's directory, or of its
        model.keras in it: beside another .keras file they need not be its own.

    Raises:
        FileNotFoundError: there is no such file or directory, or no model in it.
        ValueError: the name is unknown or lacks its weights, the file is damaged, of another package, or carries code
            and is not trusted, the weights do not fit, or there are not as many class names as classes.
        RuntimeError: this process was forked from one that had opened a model.
    """
    check_process()
    if untrained and weights is None and _is_name_only(os.fspath(source)):
        return loaded_model(create_model(os.fspath(source)), labels)
    name, checkpoint = find_model(source, weights)
    file = find_keras_file(checkpoint)
    model = (
        read_model(file, trust, around=True)
        if file and name is None
        else create_model(name, weights=checkpoint, trust=trust)
    )
    facts: dict[str, Any] = {"class_names": _class_names(model, file, labels)}
    if isinstance(model, LiT):
        facts["vocabulary"] = find_vocabulary(file or checkpoint)
    if folder := _run_directory(checkpoint, file):
        facts |= {"metrics": read_json(folder / METRICS), "config": read_json(folder / CONFIG)}
    return LoadedModel(model, **facts)


def loaded_model(model: keras.Model, labels: str | os.PathLike[str] | None = None) -> LoadedModel:
    """A model at hand, with the class names of a file, or of its published head.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: there are not as many names as classes.
    """
    return LoadedModel(model, _class_names(model, None, labels))


def _run_directory(checkpoint: str, file: str | None) -> Place | None:
    """The directory of the training that left a .keras file: what was given, or where its model lies."""
    if not file:
        return None
    path = as_place(file)
    if file != checkpoint:
        return path.parent
    # Beside a file of another name, or a copy that somebody made, these files need not be those of its training.
    left = path.name == MODEL and all(_fetched(path.with_name(name)) for name in (CONFIG, METRICS))
    return path.parent if left else None


def find_model(source: str | os.PathLike[str], weights: str | os.PathLike[str] | None = None) -> ModelSource:
    """Tells a name from a path, and refuses what is no model, as far as that shows without reading it.

    Args:
        source: as `open_model` takes it; what lies on the disk goes before a published name of the same spelling.
        weights: checkpoint for a published name.

    Raises:
        FileNotFoundError: there is no such file or directory, or no model in it.
        ValueError: the name is unknown, or what lies there is no model.
    """
    if weights is not None:
        source = os.fspath(source)
        _check_name(source)
        return ModelSource(source, os.fspath(weights))
    source = on_this_machine(source)
    as_place(source)  # refuses addresses that nothing here reads
    if not find_keras_file(source):
        refuse_export(source)
        _check_checkpoint(source)
    return ModelSource(None, source)


def _is_name_only(source: str) -> bool:
    return is_name(source) and not (find_keras_file(source) or find_saved_model(source) or _holds_checkpoint(source))


def _check_name(source: str) -> None:
    """Refuses what is no published name; for a path that is there, it says that it needs no weights."""
    if is_name(source):
        return
    if os.path.exists(source):
        raise ValueError(
            f"{source} is a path, which has weights of its own; leave the others out (--weights, weights=…)."
        )
    _refuse_missing(source)


def _check_checkpoint(source: str) -> None:
    """Refuses what is no checkpoint that tells its model."""
    named = parse_model_name(source)
    if _holds_checkpoint(source):
        if named is None and told(source) is None:
            name = os.path.basename(source.rstrip("/"))
            beside = " Weights of PyTorch tell it by a config.json beside them." if is_pytorch(source) else ""
            raise ValueError(f"The file name {name} does not tell which model it is; {_REMEDY}{beside}")
    elif is_name(source):
        theirs = find_timm_model(source)
        weights = theirs.handle if theirs else "CHECKPOINT"
        raise ValueError(
            f"{source} is the name of a model, not a trained one; add its weights (--weights {weights}, weights=…)."
        )
    elif buckets.is_dir(source):
        raise FileNotFoundError(f"The directory {source} holds no model; {_REMEDY}")
    else:
        _refuse_missing(source)


def _holds_checkpoint(path: str) -> bool:
    try:
        return bool(locate(path))
    except FileNotFoundError:
        return False


def _refuse_missing(source: str) -> NoReturn:
    """Says that there is neither a path nor a published name like that."""
    if not os.path.dirname(source) and not find_keras_file(source):
        resolve(source)
    raise FileNotFoundError(f"There is no model {source}; {_REMEDY}")


def _class_names(model: keras.Model, file: str | None, labels: str | os.PathLike[str] | None) -> tuple[str, ...] | None:
    """Those that are given, else those beside the file, else those of the head that was published."""
    # Of a user's model, the file says nothing of its classes.
    num_classes = model.num_classes if hasattr(model, "num_classes") else _user_classes(model)
    if labels is None and num_classes and file:
        labels = _fetched(as_place(file).with_name(CLASSES))
    if labels:
        return read_class_names(labels, num_classes)
    names = published_class_names(model)
    if names:
        whose = (
            "those of ImageNet, as of published heads" if model.head_dataset else "those of its weights' config.json"
        )
        _LOGGER.info("The %d class names are %s; labels names others.", len(names), whose)
    return names


def _user_classes(model: keras.Model) -> int:
    """Number of answers of a user's classifier; 0 of another model, and of one without inputs to see."""
    shape = getattr(model, "output_shape", None)
    return shape[1] if not isinstance(model, ConfiguredModel) and isinstance(shape, tuple) and len(shape) == 2 else 0


def find_vocabulary(source: str | os.PathLike[str]) -> Place | None:
    """The vocabulary of a LiT that lies beside its model or checkpoint, which need not be read for that.

    Args:
        source: a checkpoint, .keras file or directory of a training, local or at an address.

    Returns:
        vocab.txt or vocab.model, or the file of the same name as the checkpoint, such as LiT-B16B_2.txt beside
        LiT-B16B_2.npz; None if there is none.
    """
    model: Place = as_place(on_this_machine(source))
    folder: Place = model if model.is_dir() else model.parent
    candidates: list[Place] = [folder / name for name in VOCABULARIES]
    candidates += [model.with_suffix(suffix) for suffix in (".txt", ".model") if model.suffix]
    return next((found for path in candidates if (found := _fetched(path))), None)


def _fetched(place: Place) -> Place | None:
    """A file that may be there, of a public bucket its copy in the cache; None if it is not."""
    try:
        return as_place(cached(place)) if place.is_file() else None
    except OSError as error:
        # The model itself may be in the cache, and this file never was.
        _LOGGER.warning("%s is left out: %s", place, error)
        return None


def read_json(path: Place) -> dict[str, Any]:
    """A file that a training left, as CONFIG or METRICS; empty if there is none.

    Raises:
        ValueError: it is damaged.
    """
    return read_object(path) if path.is_file() else {}
