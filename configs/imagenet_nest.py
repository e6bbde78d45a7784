"""NesT on ImageNet: `--config=configs/imagenet_nest.py` (base), `…:small` or `…:tiny`.

Fine-tuning, or evaluation of a published checkpoint: `--config.init_checkpoint=… [--config.eval_only=True]`.
"""

from keras_nest.configs.nest import base_config
from ml_collections import ConfigDict

# Images of one device.
_BATCH = {"tiny": 64, "small": 64, "base": 16}


def get_config(variant: str = "base") -> ConfigDict:
    """Fields as in the reference's configuration; `keras-nest train --help` explains them."""
    config = base_config(variant)
    config.model_name = f"nest_{variant}_s196_224"
    config.per_device_batch_size = _BATCH[variant]

    config.dataset = "imagenet"
    config.shuffle_buffer_size = 1000
    config.colorjitter = ConfigDict({"type": "colorjitter", "colorjitter_strength": 0.3})
    config.warmup_epochs = 20
    config.eval_per_epochs = 10
    return config
