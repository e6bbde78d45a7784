"""A .keras file of this package as a checkpoint: it tells everything, and only what is given changes."""

from collections.abc import Mapping
from typing import Any

import keras

from keras_nest import registry
from keras_nest.models import LiT, NesT
from keras_nest.models.base import ConfiguredModel, ImageModel, read_model
from keras_nest.specs import PreprocessingSpec

# What two models of one architecture may differ in and still be the same model.
_FREE = ("num_classes", "image_size", "preprocessing", "name")


def read_own(path: str, trust: bool = False) -> Any:
    """Reads a .keras file whose tensors are those of a checkpoint; arguments and errors are those of `read_model`.

    Raises:
        ValueError: also if it is a model that is in no checkpoint, such as a generator.
    """
    model = read_model(path, trust)
    if not isinstance(model, (ImageModel, LiT)):
        raise ValueError(
            f"{path} holds a {type(model).__name__}, which is no checkpoint; give one of a model of images, or a LiT."
        )
    return model


def check_name(source: ImageModel, path: str, name: str) -> None:
    """Refuses a name that is not that of the model in a file.

    Raises:
        ValueError: unknown name, another architecture, or another published model.
    """
    full_name, architecture, fields = registry.resolve(name)
    if not isinstance(source, architecture):
        raise ValueError(
            f"{path} holds a {type(source).__name__}, but {full_name} is a {architecture.__name__}; leave the name out."
        )
    published = {each.replace("+", "_"): each for each in registry.list_models()}.get(source.name)
    if published in (None, full_name):
        return
    _, _, theirs = registry.resolve(published)
    for field in sorted(fields.keys() | theirs.keys()):
        if field not in _FREE and fields.get(field) != theirs.get(field):
            raise ValueError(
                f"{path} holds {published}, whose {field} is not that of {full_name}; leave the name out, or give the "
                "fields that shall differ."
            )


def rebuild(source: ImageModel, given: Mapping[str, Any], reinit_head: bool = False) -> ImageModel:
    """A new model like one that was read, but for the fields that are given; with new weights.

    Args:
        source: the model that was read.
        given: fields, see `keras_nest.create_model`.
        reinit_head: what only the old head needs is left out, unless it is given.

    Raises:
        ValueError: a value has no meaning.
    """
    fields = dict(given)
    if reinit_head and source.NECK and "representation_size" in source.config:
        fields.setdefault("representation_size", None)
    if isinstance(source, LiT):
        return _like(source, _towers(source, fields))
    # In NesT block size and image size determine each other: one that is given replaces the other.
    if isinstance(source, NesT) and "patch_size" in fields:
        fields.setdefault("image_size", None)
    channels, spec = fields.get("in_channels", source.config["in_channels"]), source.config["preprocessing"]
    if spec and len(spec["mean"]) != channels:
        fields.setdefault("preprocessing", PreprocessingSpec.from_dict(spec).for_channels(channels).to_dict())
    model = _like(source, fields)
    for name in source.HEAD if reinit_head and model.num_classes else ():
        model.get_layer(name).trainable = True  # the old one may be frozen, and zeros would stay zeros
    return model


def _like(source: Any, fields: Mapping[str, Any]) -> Any:
    merged = {**source.get_config(), **fields}
    if "classifier_activation" not in fields and (merged.get("features_only") or merged.get("num_classes") == 0):
        merged.pop("classifier_activation", None)  # of the head that is left out
    return type(source).from_config(merged)


def _towers(source: LiT, given: dict[str, Any]) -> dict[str, Any]:
    """Fields of a LiT, those of its towers among them: the configuration of a LiT holds whole towers."""
    common = {"dtype": given.pop("dtype")} if "dtype" in given else {}
    size = {"image_size": given.pop("image_size")} if "image_size" in given else {}
    towers = {
        "image_model": _tower(source.image_model, given.pop("image_model", {}), common | size),
        "text_model": _tower(source.text_model, given.pop("text_model", {}), common),
    }
    return given | {field: keras.saving.serialize_keras_object(tower) for field, tower in towers.items()}


def _tower(tower: keras.Model, given: Any, more: dict[str, Any]) -> keras.Model:
    """A tower with some fields changed, or another one that is given."""
    if not isinstance(given, Mapping):
        return given
    if not {**more, **given}.keys() - {"class_name"}:
        return tower
    if not isinstance(tower, ConfiguredModel) or given.get("class_name", type(tower).__name__) != type(tower).__name__:
        raise ValueError(f"The tower {tower.name!r} is a {type(tower).__name__}, which cannot get fields of another.")
    return _like(tower, {**more, **{field: value for field, value in given.items() if field != "class_name"}})
