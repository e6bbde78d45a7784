"""Fine-tunes Mixer-B/16 on CIFAR-10: `--config.pretrained_dir=gs://mixer_models/imagenet21k`."""

from keras_nest.configs.fine_tuning import base_config, model_name, with_dataset
from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """The values that the reference's configuration intends; as it stands it cannot be loaded."""
    config = with_dataset(base_config(), "cifar10")
    config.model_type = "Mixer"
    config.model_name = model_name("mixer_b16")
    config.pp.crop = 224
    return config
