"""What a checkpoint is made of: one network, or both towers of a LiT."""

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import keras

from keras_nest.models.base import PublishedModel


class Part(NamedTuple):
    """A network whose tensors lie together in a checkpoint.

    Attributes:
        prefix: of their paths: "", "img/" or "txt/".
        model: the network.
        given: fields of it that the user set.
        source: fields of the checkpoint's network, as far as they are known.
    """

    prefix: str
    model: Any
    given: Mapping[str, Any]
    source: Mapping[str, Any]

    def sets(self, fact: tuple[str, str] | None) -> bool:
        """Whether the user set the field of `PATCHES` or `BLOCKS`."""
        return fact is not None and fact[0] in self.given


def parts(
    model: PublishedModel, given: Mapping[str, Any], source: Mapping[str, Any] = MappingProxyType({})
) -> Iterator[Part]:
    """The networks of a model that say how they fit other checkpoints.

    Args:
        model: the model.
        given: fields of it that the user set.
        source: fields of the checkpoint's model, as far as they are known.
    """
    towers: Mapping[str, keras.Model] = getattr(model, "towers", {})
    if not towers:
        yield Part("", model, given, source)
    for (name, tower), field in zip(towers.items(), ("image_model", "text_model"), strict=False):
        if hasattr(tower, "BLOCKS"):
            yield Part(f"{name}/", tower, _fields(given.get(field)), _fields(source.get(field)))


def _fields(tower: Any) -> Mapping[str, Any]:
    """Fields of a tower; a whole model of the user's is none of the checkpoint's with others."""
    return tower if isinstance(tower, Mapping) else {}
