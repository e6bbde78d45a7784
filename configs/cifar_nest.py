"""NesT on CIFAR: `--config=configs/cifar_nest.py` (tiny), `…:small` or `…:base`; `--config.dataset=cifar100`."""

from keras_nest.configs.nest import base_config
from ml_collections import ConfigDict

# Images of one device.
_BATCH = {"tiny": 192, "small": 64, "base": 32}


def get_config(variant: str = "tiny") -> ConfigDict:
    """Fields as in the reference's configuration; `keras-nest train --help` explains them."""
    config = base_config(variant)
    config.model_name = f"nest_{variant}_s16_32"
    config.per_device_batch_size = _BATCH[variant]

    config.dataset = "cifar10"
    config.shuffle_buffer_size = 10_000
    config.warmup_epochs = 5
    config.eval_per_epochs = 5
    return config
