"""A LiT for three steps on the locked tower of the classifier; runs where that run lies."""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """Counts in steps, as ViT's configurations do."""
    config = ConfigDict()
    config.seed = 3
    config.model_name = "LiT-B16B"
    config.image_tower = "runs/classifier"
    config.vocab = "vocab.txt"
    config.model = ConfigDict()
    config.model.name = "digits_lit"
    config.model.temperature_init = 10.0
    config.model.text_model = ConfigDict()
    config.model.text_model.vocab_size = 22
    config.model.text_model.hidden_size = 8
    config.model.text_model.num_layers = 1
    config.model.text_model.num_heads = 2
    config.model.text_model.mlp_dim = 8
    config.model.text_model.max_length = 8
    config.model.text_model.max_len = 8
    config.dataset = "digits"
    config.class_texts = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
    config.templates = ("a photo of the digit {}", "{}")
    config.total_steps = 3
    config.batch = 16
    config.accum_steps = 1
    config.warmup_steps = 1
    config.base_lr = 0.1
    config.progress_every = 1
    config.eval_every = 3
    config.checkpoint_every = 1
    return config
