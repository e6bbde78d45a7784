"""A NesT of two levels for three steps, with everything that has a state; one layer is frozen."""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """Counts in epochs, as NesT's configurations do."""
    config = ConfigDict()
    config.seed = 3
    config.model_name = "nest_tiny_s16_32"
    config.model = ConfigDict()
    config.model.image_size = 16
    config.model.init_patch_embed_size = 4
    config.model.embedding_dim = 8
    config.model.num_heads = 2
    config.model.num_layers_per_block = (1, 1)
    config.model.stochastic_depth_drop = 0.2
    config.model.preprocessing = {"mean": [0.3] * 3, "std": [0.3] * 3, "crop_ratio": 1.0, "interpolation": "bilinear"}
    config.dataset = "digits"
    config.augment = ConfigDict({"type": "shift", "max_shift": 4})
    config.mix = ConfigDict({"mixup_alpha": 0.8, "cutmix_alpha": 1.0})
    config.num_epochs = 1
    config.num_train_steps = 3
    config.per_device_batch_size = 16
    config.accum_steps = 2
    config.ema_decay = 0.5
    config.freeze = ("EncoderNDBlock_0",)
    config.learning_rate = 0.02
    config.log_loss_every_steps = 1
    config.checkpoint_every_steps = 1
    return config
