"""Published names -> models."""

import csv
import fnmatch
import importlib.resources
import inspect
import os
from collections.abc import Mapping
from typing import Any, NoReturn

import keras

from keras_nest.hints import did_you_mean
from keras_nest.imagenet import find_dataset
from keras_nest.models import PublishedModel
from keras_nest.models.families import ALIASES, MODELS
from keras_nest.models.timm import architecture_of, find_timm_model, not_computed, timm_models
from keras_nest.models.wrapping import find_preprocessing, image_symbol
from keras_nest.specs import PreprocessingSpec
from keras_nest.types import Size

# Fields of LiT that hold the fields of a model.
TOWERS = ("image_model", "text_model")


PRETRAINED = "pretrained"
"""Weights of one of timm's names: those that lie under it on the hub."""


def list_models(pattern: str | None = None, timm: bool = False) -> list[str]:
    """Names that `create_model` knows, in the order of the papers' tables.

    Args:
        pattern: glob such as "*_s16_32"; None lists all. A pattern also finds models by their short aliases.
        timm: list timm's names instead, such as "nest_base_jx.goog_in1k".

    Returns:
        Full names; the aliases are in `keras_nest.registry.ALIASES`.
    """
    if timm:
        return fnmatch.filter(timm_models(), pattern or "*")
    if pattern is None:
        return list(MODELS)
    by_alias = {ALIASES[alias] for alias in fnmatch.filter(ALIASES, pattern)}
    return [name for name in MODELS if fnmatch.fnmatch(name, pattern) or name in by_alias]


def is_name(name: str) -> bool:
    """Whether a name is one of `list_models`, of ours or of timm's, or an alias."""
    return name in MODELS or name in ALIASES or find_timm_model(name) is not None


def resolve(name: str) -> tuple[str, type[PublishedModel], dict[str, Any]]:
    """Full name, architecture and published fields of a model.

    Args:
        name: a name of `list_models`, of ours or of timm's, with its tag or without, or an alias.

    Raises:
        ValueError: unknown name; the nearest ones are suggested.
    """
    if not is_name(name):
        _refuse_name(name)
    theirs = find_timm_model(name)
    full_name = theirs.name if theirs else ALIASES.get(name, name)
    return full_name, *_published(full_name)


def _published(full_name: str) -> tuple[type[PublishedModel], dict[str, Any]]:
    """Architecture and published fields."""
    if full_name in MODELS:
        architecture, fields = MODELS[full_name]
        return architecture, dict(fields)
    theirs = timm_models()[full_name]
    architecture, fields = MODELS[theirs.model]
    return architecture, {**fields, **timm_fields(architecture, fields), **theirs.fields}


def timm_fields(architecture: type[PublishedModel], fields: Mapping[str, Any]) -> dict[str, Any]:
    """What all models of timm compute otherwise than those of JAX.

    Args:
        architecture: class of the model.
        fields: of the model.
    """
    told: dict[str, Any] = {}
    if "activation" in model_fields(architecture):
        told["activation"] = "gelu"
    if fields.get("resnet_num_layers") is not None:
        told["resnet_variant"] = "timm"
    return told


def _refuse_name(name: str) -> NoReturn:
    if name.startswith("hf://"):
        raise ValueError(f"{name} is a model of the hub and no name; give it as weights (--weights, weights=…) alone.")
    if tags := [tag for tag in timm_models() if architecture_of(tag) == architecture_of(name)]:
        raise ValueError(f"There is no model {name!r}; of timm's {architecture_of(name)} there are {', '.join(tags)}.")
    if what := not_computed(name):
        raise ValueError(f"timm's {name} has {what}, which the models here do not compute.")
    all_names = [*MODELS, *ALIASES, *timm_models()]
    hint = did_you_mean(name, all_names, "`keras-nest list` shows all, with --timm those of timm.", count=3)
    raise ValueError(f"There is no model {name!r}; {hint}")


def published_name(model_name: str) -> str | None:
    """The name of `list_models` that a Keras model is called after, which has no "+" itself; None if there is none."""
    return {name.replace("+", "_"): name for name in (*list_models(), *list_models(timm=True))}.get(model_name)


def published_weights(name: str | None, weights: str | os.PathLike[str]) -> str | os.PathLike[str]:
    """Where weights lie: for "pretrained", those that timm published under a name of its own.

    Args:
        name: that the user gave.
        weights: a checkpoint, or "pretrained" where no file is called so.

    Raises:
        ValueError: "pretrained" of another name.
    """
    if os.fspath(weights) != PRETRAINED or os.path.exists(weights):
        return weights
    if name is not None and (theirs := find_timm_model(name)):
        return theirs.handle
    if name is not None:
        resolve(name)
    raise ValueError(
        f"{PRETRAINED} weights are those of timm's names, which `keras-nest list --timm` shows; "
        "`keras-nest list --urls` has the files of others."
    )


def dataset_of_head(full_name: str, num_classes: int) -> str | None:
    """What the published head of so many classes was trained on, as `keras_nest.imagenet` names it; None if unknown.

    Args:
        full_name: a name of `list_models`.
        num_classes: of a checkpoint of this model: those of models for ImageNet were published for 1000 classes and
            for the 21,843 of ImageNet-21k.
    """
    _, fields = _published(full_name)
    return find_dataset(num_classes) if find_dataset(fields.get("num_classes", 0)) else None


def read_measurements() -> list[dict[str, str]]:
    """What `make table` and the tests measured of the published models: parameters, and of classifiers more."""
    table = importlib.resources.files("keras_nest.models") / "published.csv"
    return list(csv.DictReader(table.read_text("utf-8").splitlines()))


def parameter_counts() -> dict[str, int]:
    """Parameters of the published models at their published size."""
    return {row["model"]: int(row["parameters"]) for row in read_measurements()}


def model_fields(architecture: type[PublishedModel]) -> list[str]:
    """Fields of an architecture that `create_model` takes as keyword overrides."""
    return [field for field in inspect.signature(architecture.__init__).parameters if field != "self"]


def merge_fields(full_name: str, inferred: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    """Constructor arguments: the published fields, then what a checkpoint shows, then what the user set.

    Args:
        full_name: a name of `list_models`.
        inferred: fields read off a checkpoint.
        given: fields that the user set.
    """
    architecture, published = _published(full_name)
    towers = {field: _merge_tower(published[field], given[field]) for field in TOWERS if field in given}
    merged = {"name": full_name, **published, **inferred, **given, **towers}
    merged |= undetermined(architecture, given)
    if merged.get("in_channels", 3) != 3 and "preprocessing" not in given:
        merged["preprocessing"] = (
            PreprocessingSpec.from_dict(merged["preprocessing"]).for_channels(merged["in_channels"]).to_dict()
        )
    return merged


def _merge_tower(published: dict[str, Any], given: Any) -> Any:
    """Fields of a tower, of which a user may set some; a model or the fields of another class replace them all."""
    if not isinstance(given, Mapping) or given.get("class_name", published["class_name"]) != published["class_name"]:
        return given
    return {**published, **given}


def undetermined(architecture: type[PublishedModel], given: Mapping[str, Any]) -> dict[str, None]:
    """Fields that are left to follow from another one, which is given where they are not."""
    pairs = architecture.DETERMINED_BY.items()
    return {field: None for field, source in pairs if source in given and field not in given}


def check_fields(architecture: type[PublishedModel], given: dict[str, Any]) -> None:
    """Refuses fields that an architecture does not have.

    Raises:
        ValueError: names the nearest field, or all.
    """
    known = model_fields(architecture)
    for field in given:
        if field not in known:
            hint = did_you_mean(field, known, "its fields are {}.")
            raise ValueError(f"{architecture.__name__} has no field {field!r}; {hint}")


def preprocessing_spec(name_or_model: str | keras.Model) -> tuple[PreprocessingSpec, Size]:
    """Evaluation preprocessing and image size of a published name or of a model, which may be a user's around another.

    Raises:
        ValueError: unknown name, or a model without specification, or of which none can be told.
    """
    if isinstance(name_or_model, str):
        _, _, fields = resolve(name_or_model)
        size = fields["image_size"]
        return PreprocessingSpec.from_dict(fields["preprocessing"]), (size, size)
    config = getattr(name_or_model, "config", None) or {"preprocessing": find_preprocessing(name_or_model)}
    if not config.get("preprocessing"):
        raise ValueError(
            f"The model {name_or_model.name!r} carries no preprocessing; create it with `create_model`, or pass "
            "preprocessing=… when you build it."
        )
    images = image_symbol(name_or_model.inputs)
    size = config.get("image_size") or (images if images is not None else name_or_model.inputs[0]).shape[1:3]
    return PreprocessingSpec.from_dict(config["preprocessing"]), tuple(size)
