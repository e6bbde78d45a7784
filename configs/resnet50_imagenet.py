"""A ResNet-50 on ImageNet, to about 76 % top-1."""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """Fields as in the reference's configuration; `keras-nest train --help` explains them."""
    config = ConfigDict()
    config.seed = 42
    config.trial = 0

    config.model_name = "resnet50"
    # Without NesT's augmentations the reference leaves pixels in [0, 1].
    pixels = {"mean": [0.0] * 3, "std": [1.0] * 3, "crop_ratio": 224 / 256, "interpolation": "bilinear"}
    config.model = ConfigDict({"preprocessing": pixels})
    config.dataset = "imagenet"
    config.shuffle_buffer_size = 1000
    config.augment = ConfigDict({"type": "default"})  # random crop and flip alone

    config.num_epochs = 90
    config.num_train_steps = -1
    config.per_device_batch_size = 64
    config.optim = "sgd"
    config.sgd_momentum = 0.9
    config.weight_decay = 0.0001
    config.learning_rate = 0.1
    config.learning_rate_schedule = "cosine"
    config.warmup_epochs = 5

    config.log_loss_every_steps = 500
    config.eval_every_steps = 5000
    config.checkpoint_every_steps = 5000
    return config
