"""Published names -> models."""

import fnmatch
import inspect
from collections.abc import Mapping
from typing import Any

import keras

from keras_nest.hints import did_you_mean
from keras_nest.layers.image_blocks import Size
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


def create_model(
    name: str | None = None,
    num_classes: int | None = None,
    image_size: int | Size | None = None,
    weights: str | None = None,
    reinit_head: bool = False,
    features_only: bool = False,
    resize_method: str = "block",
    trust: bool = False,
    **overrides: Any,
) -> ImageModel:
    """Creates a published model, with new or loaded weights.

    Args:
        name: a name of `list_models`, or an alias such as "nest_base" or "B_16". None takes it from the checkpoint: a
            .keras file knows it, and file names as those of AugReg tell it.
        num_classes: size of the head; 0 outputs the pooled embedding (B, C). None takes the checkpoint's, or without
            weights the published one.
        image_size: side or (height, width) in pixels. None takes the checkpoint's, or the published one. Position
            embeddings of a checkpoint are resized to it, which is logged.
        weights: checkpoint to load: a published directory or a file in it, a Flax msgpack file, a '/'-keyed .npz, an
            Orbax directory, a .keras file of this package or the directory of a training; local or any path that
            TensorFlow reads ("gs://…"). A .keras file tells all fields, and what is frozen or was changed on layers:
            only what is given here differs. Other files that this package wrote tell their image size; of others, as
            many tokens as `image_size` makes are taken for the same ones, and other numbers for squares; oblong ones
            are logged.
        reinit_head: start with a head of zeros instead of the checkpoint's. A layer that only the checkpoint's head
            needs, ViT's `pre_logits`, is left out too unless `representation_size` asks for it.
        features_only: output a dictionary of maps (B, H, W, C), finest first: P2, P3, … of NesT's levels, block_k of
            the blocks that `feature_blocks` names in ViT and Mixer.
        resize_method: how position embeddings are resized: "block" (each block for itself, as the reference does) or
            "grid" (the whole un-blocked map).
        trust: also read a .keras file that carries code, which runs then; see `HubLayer`.
        **overrides: any field of the architecture, under the name that the paper's configuration uses. Of LiT's
            `image_model` and `text_model`, a dictionary sets some fields of the tower.

    Returns:
        A functional Keras model: normalised float32 images (B, H, W, in_channels) -> logits (B, num_classes). What LiT
        takes and gives: `keras_nest.LiT`.

    Raises:
        ValueError: unknown name or field, a value without meaning, or a checkpoint that does not fit.
        FileNotFoundError: the checkpoint does not exist.
    """
    given = {**({"features_only": True} if features_only else {}), **overrides}
    given |= {k: v for k, v in (("num_classes", num_classes), ("image_size", image_size)) if v is not None}
    if weights is None:
        if name is None:
            raise ValueError("Neither a name nor weights are given; `list_models()` has the names.")
        full_name, architecture, _ = resolve(name)
        check_fields(architecture, given)
        return architecture(**merge_fields(full_name, {}, given))
    # Converting is another room; it is entered only when there is something to convert.
    import conversion

    model, _ = conversion.load_model(name, weights, given, reinit_head, resize_method, trust=trust)
    return model


def augreg_checkpoint(directory: str, model_or_filename: str) -> str:
    """Where a checkpoint of AugReg lies.

    Args:
        directory: where the files and their index.csv lie, such as "gs://vit_models/augreg".
        model_or_filename: a name with a "-" is that of a file, without its suffix; another one, such as "R_Ti_16", is a
            model, of which the checkpoint with the best accuracy on ImageNet-21k is taken.

    Raises:
        ValueError: there is no checkpoint of this model.
        FileNotFoundError: there is no index.
        ModuleNotFoundError: pandas, which reads the index, is not installed.
    """
    from conversion.augreg import augreg_best

    filename = model_or_filename
    if "-" not in filename:
        filename = augreg_best(f"{directory.rstrip('/')}/index.csv", model_or_filename).filename
    return f"{directory.rstrip('/')}/{filename}.npz"


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
        merged["preprocessing"] = spread(merged["preprocessing"], merged["in_channels"])
    return merged


def _merge_tower(published: dict[str, Any], given: Any) -> Any:
    """Fields of a tower, of which a user may set some; a model or the fields of another class replace them all."""
    if not isinstance(given, Mapping) or given.get("class_name", published["class_name"]) != published["class_name"]:
        return given
    return {**published, **given}


def spread(spec: dict[str, Any], channels: int) -> dict[str, Any]:
    """A specification of preprocessing made one for other channels: each gets the average of those there are."""
    return {**spec, **{name: [sum(spec[name]) / len(spec[name])] * channels for name in ("mean", "std")}}


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


def preprocessing_spec(name_or_model: str | keras.Model) -> tuple[dict[str, Any], Size]:
    """Evaluation preprocessing and image size of a published name or of a model, which may be a user's around another.

    Raises:
        ValueError: unknown name, or a model without specification, or of which none can be told.
    """
    if isinstance(name_or_model, str):
        _, _, fields = resolve(name_or_model)
        size = fields["image_size"]
        return fields["preprocessing"], (size, size)
    config = getattr(name_or_model, "config", None) or {"preprocessing": preprocessing_of(name_or_model)}
    if not config.get("preprocessing"):
        raise ValueError(
            f"The model {name_or_model.name!r} carries no preprocessing; create it with `create_model`, or pass "
            "preprocessing=… when you build it."
        )
    return config["preprocessing"], tuple(config.get("image_size", name_or_model.input_shape[1:3]))
