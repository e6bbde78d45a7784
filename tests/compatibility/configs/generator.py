"""A generator of two levels against a small discriminator for three steps."""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """Fields of a generator's training."""
    config = ConfigDict()
    config.trainer = "gan"
    config.seed = 3
    config.model = ConfigDict()
    config.model.image_size = 8
    config.model.latent_dim = 4
    config.model.embedding_dims = (8, 8)
    config.model.num_heads = (2, 2)
    config.model.num_layers_per_block = (1, 1)
    config.model.patch_size = 2
    config.discriminator = ConfigDict({"widths": (4, 4), "stem_stride": 1})
    config.dataset = "digits"
    config.total_steps = 3
    config.batch = 10
    config.r1_every = 2
    config.max_shift = 1
    config.ema_decay = 0.5
    config.progress_every = 1
    config.sample_every = 3
    config.checkpoint_every = 1
    return config
