"""How many images a second a model takes: `--config.model_name=… --config.batch=… --config.image_size=…`."""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """Fields as in the reference's configuration, with values for those that it leaves at 0."""
    config = ConfigDict()
    config.trainer = "inference_time"
    config.model_name = "ViT-B_32"
    config.log_dir = "."
    config.steps = 30
    config.initial_steps = 10
    config.batch = 8
    config.num_classes = 1000
    config.image_size = 224
    return config
