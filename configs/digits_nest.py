"""A small NesT on the 1,797 handwritten digits inside scikit-learn: about a minute of training on two CPU cores."""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """`keras-nest train --help` explains the fields, those of the model at `keras_nest.NesT`."""
    config = ConfigDict()
    config.seed = 0

    config.model_name = "nest_tiny_s16_32"
    config.model = ConfigDict()
    config.model.image_size = 32
    config.model.init_patch_embed_size = 2
    config.model.embedding_dim = 40
    config.model.num_heads = 2
    config.model.num_layers_per_block = (1, 1, 2)
    config.model.scale_hidden_dims = 2
    config.model.attn_type = "local_multi_head"
    config.model.stochastic_depth_drop = 0.1
    # Mean and deviation of the training images.
    config.model.preprocessing = {"mean": [0.31] * 3, "std": [0.35] * 3, "crop_ratio": 1.0, "interpolation": "bilinear"}

    config.dataset = "digits"
    config.augment = ConfigDict({"type": "shift", "max_shift": 4})

    config.num_epochs = 25
    config.per_device_batch_size = 48
    config.optim = "adamw"
    config.optim_wd_ignore = ["pos_embedding"]
    config.weight_decay = 0.05
    config.learning_rate = 4e-3
    config.learning_rate_schedule = "cosine"
    config.warmup_epochs = 5
    return config
