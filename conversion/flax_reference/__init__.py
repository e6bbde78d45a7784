"""Flax (Linen) modules with the parameter trees of published implementations.

NesT (two), ViT with hybrids, MLP-Mixer, and the ResNets of NesT's code. They are the oracle that converted models are
compared with, and depend on neither Keras nor TensorFlow.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import flax.linen as nn

from conversion.flax_reference.mixer import MlpMixer
from conversion.flax_reference.nest import NesT
from conversion.flax_reference.resnet_v1 import ResNet
from conversion.flax_reference.vit import VisionTransformer
from conversion.flax_reference.vit_flax_nest import ViTFlaxNesT

__all__ = ["MlpMixer", "NesT", "ResNet", "ViTFlaxNesT", "VisionTransformer", "for_config"]

_MODULES: dict[str, type[nn.Module]] = {
    module.__name__: module for module in (NesT, ViTFlaxNesT, VisionTransformer, MlpMixer, ResNet)
}


def for_config(architecture: str, config: Mapping[str, Any]) -> nn.Module:
    """Makes the module that a configuration describes.

    Args:
        architecture: "NesT", "ViTFlaxNesT", "VisionTransformer", "MlpMixer" or "ResNet".
        config: fields under the names that the module documents; entries that are no field of the module are ignored.

    Returns:
        The module, without parameters.

    Raises:
        ValueError: if the architecture is unknown.
    """
    if architecture not in _MODULES:
        raise ValueError(f"The architecture {architecture!r} is unknown; known are {', '.join(_MODULES)}.")
    module = _MODULES[architecture]
    # Every Flax module also has the fields `parent` and `name`; a model's name in `config` is not meant for them.
    known = {field.name for field in dataclasses.fields(module)} - {"parent", "name"}
    fields = {name: value for name, value in config.items() if name in known}
    return module(**{name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()})
