"""Architectures: one file each, with its table of published variants on top."""

from typing import Any

from keras_nest.models.base import ImageModel, PublishedModel, read_model
from keras_nest.models.configured import ConfiguredModel
from keras_nest.models.families import register_family

# Each registers itself, in the order in which `list_models` lists them.
# isort: off
from keras_nest.models.nest import NesT
from keras_nest.models.vit_flax_nest import ViTFlaxNesT
from keras_nest.models.vit import VisionTransformer
from keras_nest.models.mixer import MlpMixer
from keras_nest.models.resnet import ResNet
from keras_nest.models.text import Bert, TextModel, TextTransformer
from keras_nest.models.lit import LiT

# isort: on

__all__ = [
    "Bert",
    "ConfiguredModel",
    "ImageModel",
    "LiT",
    "MlpMixer",
    "NesT",
    "PublishedModel",
    "ResNet",
    "TextModel",
    "TextTransformer",
    "ViTFlaxNesT",
    "VisionTransformer",
    "read_model",
    "register_family",
]


def __getattr__(name: str) -> Any:
    if name == "NesTGenerator":
        raise AttributeError("NesTGenerator is no model of this package; it is keras_nest.NesTGenerator.")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
