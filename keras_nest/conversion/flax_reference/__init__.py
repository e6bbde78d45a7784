"""Flax (Linen) modules with the parameter trees of published implementations.

NesT (two), ViT with hybrids, MLP-Mixer, LiT with its text towers, and the ResNets of NesT's code. They are the oracle
that converted models are compared with, and depend on neither Keras nor TensorFlow.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import flax.linen as nn

from keras_nest.conversion.flax_reference.lit import Bert, LiT, TextTransformer
from keras_nest.conversion.flax_reference.mixer import MlpMixer
from keras_nest.conversion.flax_reference.modules import MODULES, register_module
from keras_nest.conversion.flax_reference.nest import NesT
from keras_nest.conversion.flax_reference.resnet_v1 import ResNet
from keras_nest.conversion.flax_reference.vit import VisionTransformer
from keras_nest.conversion.flax_reference.vit_flax_nest import ViTFlaxNesT

__all__ = [
    "Bert",
    "LiT",
    "MlpMixer",
    "NesT",
    "ResNet",
    "TextTransformer",
    "ViTFlaxNesT",
    "VisionTransformer",
    "for_config",
    "register_module",
]


def for_config(architecture: str, config: Mapping[str, Any]) -> nn.Module:
    """Makes the module that a configuration describes.

    Args:
        architecture: name of one of these modules, or of another one that was registered.
        config: fields under the names that the module documents; entries that are no field of the module are ignored.
            Of "LiT", `image_model` and `text_model`: such fields, and the tower's architecture as "class_name".

    Returns:
        The module, without parameters.

    Raises:
        ValueError: if the architecture is unknown.
    """
    if architecture == "LiT":
        towers = (config[tower] for tower in ("image_model", "text_model"))
        return LiT(*(for_config(tower["class_name"], tower) for tower in towers))
    if architecture not in MODULES:
        raise ValueError(f"The architecture {architecture!r} is unknown; known are {', '.join([*MODULES, 'LiT'])}.")
    module = MODULES[architecture]
    # Every Flax module also has the fields `parent` and `name`; a model's name in `config` is not meant for them.
    known = {field.name for field in dataclasses.fields(module)} - {"parent", "name"}
    fields = {name: value for name, value in config.items() if name in known}
    return module(**{name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()})
