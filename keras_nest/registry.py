"""Published names -> models."""

import fnmatch
import inspect
from collections.abc import Mapping
from typing import Any

import keras

from keras_nest.hints import did_you_mean
from keras_nest.models import (
    LiT,
    MlpMixer,
    NesT,
    ResNet,
    VisionTransformer,
    ViTFlaxNesT,
    lit,
    mixer,
    nest,
    resnet,
    vit,
    vit_flax_nest,
)
from keras_nest.models.base import ImageModel
from keras_nest.models.wrapping import preprocessing_of
from keras_nest.specs import PreprocessingSpec
from keras_nest.types import Size

_FAMILIES: dict[str, tuple[type[ImageModel], Any]] = {
    "NesT": (NesT, nest),
    "ViTFlaxNesT": (ViTFlaxNesT, vit_flax_nest),
    "VisionTransformer": (VisionTransformer, vit),
    "MlpMixer": (MlpMixer, mixer),
    "ResNet": (ResNet, resnet),
    "LiT": (LiT, lit),
}
_MODELS: dict[str, tuple[type[ImageModel], dict[str, Any]]] = {
    name: (architecture, fields)
    for architecture, module in _FAMILIES.values()
    for name, fields in module.VARIANTS.items()
}
ALIASES: dict[str, str] = {alias: name for _, m in _FAMILIES.values() for alias, name in m.ALIASES.items()}
# Parameters of each model at its published size.
PARAMETERS: dict[str, int] = {name: count for _, m in _FAMILIES.values() for name, count in m.PARAMETERS.items()}
# Fields of LiT that hold the fields of a model.
TOWERS = ("image_model", "text_model")


def list_models(pattern: str | None = None) -> list[str]:
    """Names that `create_model` knows, in the order of the papers' tables.

    Args:
        pattern: glob such as "*_s16_32"; None lists all. A pattern also finds models by their short aliases.

    Returns:
        Full names; the aliases are in `keras_nest.registry.ALIASES`.
    """
    if pattern is None:
        return list(_MODELS)
    by_alias = {ALIASES[alias] for alias in fnmatch.filter(ALIASES, pattern)}
    return [name for name in _MODELS if fnmatch.fnmatch(name, pattern) or name in by_alias]


def is_name(name: str) -> bool:
    """Whether a name is one of `list_models`, or an alias."""
    return name in _MODELS or name in ALIASES


def resolve(name: str) -> tuple[str, type[ImageModel], dict[str, Any]]:
    """Full name, architecture and published fields of a model.

    Args:
        name: a name of `list_models`, or an alias.

    Raises:
        ValueError: unknown name; the nearest ones are suggested.
    """
    full_name = ALIASES.get(name, name)
    if full_name not in _MODELS:
        hint = did_you_mean(name, [*_MODELS, *ALIASES], "`keras-nest list` shows all.", count=3)
        raise ValueError(f"There is no model {name!r}; {hint}")
    return full_name, *_MODELS[full_name]


def model_fields(architecture: type[ImageModel]) -> list[str]:
    """Fields of an architecture that `create_model` takes as keyword overrides."""
    return [field for field in inspect.signature(architecture.__init__).parameters if field != "self"]


def merge_fields(full_name: str, inferred: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    """Constructor arguments: the published fields, then what a checkpoint shows, then what the user set.

    Args:
        full_name: a name of `list_models`.
        inferred: fields read off a checkpoint.
        given: fields that the user set.
    """
    architecture, published = _MODELS[full_name]
    towers = {field: _merge_tower(published[field], given[field]) for field in TOWERS if field in given}
    merged = {"name": full_name, **published, **inferred, **given, **towers}
    # In NesT block size and image size determine each other: one that is given replaces the other.
    if architecture is NesT and "patch_size" in given and "image_size" not in given:
        merged["image_size"] = None
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


def check_fields(architecture: type[ImageModel], given: dict[str, Any]) -> None:
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
    config = getattr(name_or_model, "config", None) or {"preprocessing": preprocessing_of(name_or_model)}
    if not config.get("preprocessing"):
        raise ValueError(
            f"The model {name_or_model.name!r} carries no preprocessing; create it with `create_model`, or pass "
            "preprocessing=… when you build it."
        )
    size = config.get("image_size", name_or_model.input_shape[1:3])
    return PreprocessingSpec.from_dict(config["preprocessing"]), tuple(size)
