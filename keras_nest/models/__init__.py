"""Model architectures, one file each."""

from keras_nest.models.base import ImageModel, read_model
from keras_nest.models.nest import NesT
from keras_nest.models.vit_flax_nest import ViTFlaxNesT

__all__ = ["ImageModel", "NesT", "ViTFlaxNesT", "read_model"]
