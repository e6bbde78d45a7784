"""A ResNet-18 on CIFAR, the baseline beside NesT: `--config.dataset=cifar100` for the other one."""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """Fields as in the reference's configuration; `keras-nest train --help` explains them."""
    config = ConfigDict()
    config.seed = 42

    config.model_name = "resnet18_cifar"
    # Without NesT's augmentations the reference leaves pixels in [0, 1].
    pixels = {"mean": [0.0] * 3, "std": [1.0] * 3, "crop_ratio": 1.0, "interpolation": "bilinear"}
    config.model = ConfigDict({"preprocessing": pixels})
    config.dataset = "cifar10"
    config.shuffle_buffer_size = 10_000
    config.augment = ConfigDict({"type": "default"})  # shift and flip alone

    config.num_epochs = 200
    config.num_train_steps = -1
    config.per_device_batch_size = 128
    config.optim = "sgd"
    config.sgd_momentum = 0.9
    config.weight_decay = 0.0005
    config.grad_clip_max_norm = 0
    config.learning_rate = 0.2
    config.learning_rate_schedule = "cosine"
    config.warmup_epochs = 5

    config.log_loss_every_steps = 500
    config.eval_every_steps = 200
    config.checkpoint_every_steps = 5000
    return config
