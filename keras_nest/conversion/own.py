"""A .keras file as a checkpoint: it tells everything, and only what is given changes."""

from collections.abc import Mapping
from typing import Any

from keras_nest import registry
from keras_nest.copies import local_file
from keras_nest.layers.changes import layers_by_path
from keras_nest.models.base import ConfiguredModel, PublishedModel, read_model
from keras_nest.models.user_model import model_inside
from keras_nest.models.weights_file import read_weights_file, stored
from keras_nest.names import flax_path
from keras_nest.specs import PreprocessingSpec

# What a file of weights shows, and what it says nothing about but is not in the way.
_OF_THE_FILE = ("num_classes", "image_size", "features_only", "classifier_activation", "dtype")
# What two models of one architecture may differ in and still be the same model.
_FREE = ("num_classes", "image_size", "preprocessing", "name")


def read_own(path: str, trust: bool = False) -> PublishedModel:
    """Reads a .keras file whose tensors are those of a checkpoint; arguments and errors are those of `read_model`.

    Returns:
        The model; of a user's file that of this package in it, without the user's head.

    Raises:
        ValueError: also if it is a model that is in no checkpoint, such as a generator, or holds several models.
    """
    model = read_model(path, trust, around=True)
    if not isinstance(model, ConfiguredModel):
        return model_inside(model)
    if not isinstance(model, PublishedModel):
        raise ValueError(
            f"{path} holds a {type(model).__name__}, which is no checkpoint; give one of a model of images, or a LiT."
        )
    return model


def read_weights(path: str, full_name: str, given: Mapping[str, Any]) -> PublishedModel:
    """The model that a .weights.h5 file was saved of, whose head and image size the file shows.

    Args:
        path: the file, local or an address.
        full_name: a name of `list_models`.
        given: fields that the user set; of those that the file shows, the model that is read has the file's.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is damaged, or of another model.
    """
    _, architecture, _ = registry.resolve(full_name)
    own = {field: value for field, value in given.items() if field not in _OF_THE_FILE}
    arrays = read_weights_file(path)
    fields = registry.merge_fields(full_name, {}, own)
    model = architecture(**fields)
    names = {name: [value.name for value in stored(layer)] for name, layer in layers_by_path(model).items()}
    shapes = {
        flax_path(f"{layer}/{name}").removeprefix("params/"): array.shape
        for layer, inside in arrays.items()
        for name, array in zip(names.get(layer, ("kernel", "bias")), inside, strict=False)
    }
    shown = registry.merge_fields(full_name, architecture.infer_fields(fields, shapes), own)
    model = model if shown == fields else architecture(**shown)
    with local_file(path, "file") as local:
        model.load_weights(local)
    return model


def check_name(source: PublishedModel, path: str, name: str) -> None:
    """Refuses a name that is not that of the model in a file.

    Raises:
        ValueError: unknown name, another architecture, or another published model.
    """
    full_name, architecture, fields = registry.resolve(name)
    if not isinstance(source, architecture):
        raise ValueError(
            f"{path} holds a {type(source).__name__}, but {full_name} is a {architecture.__name__}; leave the name out."
        )
    published = registry.published_name(source.name)
    if published in (None, full_name):
        return
    _, _, theirs = registry.resolve(published)
    for field in sorted(fields.keys() | theirs.keys()):
        if field not in _FREE and fields.get(field) != theirs.get(field):
            raise ValueError(
                f"{path} holds {published}, whose {field} is not that of {full_name}; leave the name out, or give the "
                "fields that shall differ."
            )


def rebuild(source: PublishedModel, given: Mapping[str, Any], reinit_head: bool = False) -> PublishedModel:
    """A new model like one that was read, but for the fields that are given; with new weights.

    Args:
        source: the model that was read.
        given: fields, see `keras_nest.create_model`.
        reinit_head: what only the old head needs is left out, unless it is given.

    Raises:
        ValueError: a value has no meaning.
    """
    fields = dict(given)
    for field in source.PRE_HEAD.values() if reinit_head else ():
        fields.setdefault(field, None)
    fields |= registry.undetermined(type(source), fields)
    channels, spec = fields.get("in_channels", source.config["in_channels"]), source.config["preprocessing"]
    if spec and len(spec["mean"]) != channels:
        fields.setdefault("preprocessing", PreprocessingSpec.from_dict(spec).for_channels(channels).to_dict())
    model = source.with_fields(**fields)
    for name in source.HEAD if reinit_head and model.num_classes else ():
        model.get_layer(name).trainable = True  # the old one may be frozen, and zeros would stay zeros
    return model
