"""NesT-T on ImageNet with several GPUs: 64 images each, 512 on eight of them."""

from ml_collections import ConfigDict

from keras_nest.configs import imagenet_nest


def get_config() -> ConfigDict:
    """Fields as in the reference's configuration."""
    return imagenet_nest.get_config("tiny")
