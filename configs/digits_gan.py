"""A NesTGenerator of the digits inside scikit-learn: 20 minutes on two CPU cores that others used too."""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """`keras-nest train --help` explains the fields, those of the model: `keras_nest.NesTGenerator`."""
    config = ConfigDict()
    config.trainer = "gan"
    config.seed = 0

    config.model_name = "nest_generator_small_32"
    config.model = ConfigDict()
    config.model.latent_dim = 32
    config.model.embedding_dims = (96, 48, 32)
    config.model.num_heads = (4, 2, 2)
    config.model.num_layers_per_block = (2, 2, 1)
    config.discriminator = ConfigDict({"widths": (24, 48, 96), "stem_stride": 2})

    config.dataset = "digits"
    config.total_steps = 4000
    config.batch = 32
    config.learning_rate = 3e-4
    config.discriminator_learning_rate = 1e-3
    config.r1_gamma = 0.1
    config.max_shift = 2
    config.ema_decay = 0.998
    return config
