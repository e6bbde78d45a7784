"""Architectures: one file each, with its table of published variants on top."""

from typing import Any

from keras_nest.models.base import ImageModel, read_model
from keras_nest.models.lit import LiT
from keras_nest.models.mixer import MlpMixer
from keras_nest.models.nest import NesT
from keras_nest.models.resnet import ResNet
from keras_nest.models.text import Bert, TextModel, TextTransformer
from keras_nest.models.vit import VisionTransformer
from keras_nest.models.vit_flax_nest import ViTFlaxNesT

__all__ = [
    "Bert",
    "ImageModel",
    "LiT",
    "MlpMixer",
    "NesT",
    "ResNet",
    "TextModel",
    "TextTransformer",
    "ViTFlaxNesT",
    "VisionTransformer",
    "read_model",
]


def __getattr__(name: str) -> Any:
    if name == "NesTGenerator":
        raise AttributeError("NesTGenerator is no model of this package; it is keras_nest.NesTGenerator.")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
