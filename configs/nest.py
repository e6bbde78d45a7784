"""What the configurations of NesT share; not one by itself."""

from ml_collections import ConfigDict

VARIANTS = ("tiny", "small", "base")


def base_config(variant: str) -> ConfigDict:
    """Training from new weights for 300 epochs, as in the paper.

    Args:
        variant: "tiny", "small" or "base"; checked only.

    Raises:
        ValueError: another variant.
    """
    if variant not in VARIANTS:
        raise ValueError(f"There is no variant {variant!r} of NesT; it must be tiny, small or base.")
    config = ConfigDict()
    # Fields of the model, such as --config.model.image_size=64.
    config.model = ConfigDict()
    config.seed = 42
    config.trial = 0

    config.optim = "adamw"
    config.optim_wd_ignore = ["pos_embedding"]
    config.weight_decay = 0.05
    config.grad_clip_max_norm = 0
    # Of a batch of 256; scaled by the batch of all devices together.
    config.learning_rate = 2.5e-4
    config.learning_rate_schedule = "cosine"
    config.num_epochs = 300
    config.num_train_steps = -1

    config.augment = ConfigDict()
    config.augment.type = "randaugment"
    config.augment.randaugment_num_layers = 2
    config.augment.randaugment_magnitude = 9
    config.augment.randaugment_magstd = 0.5
    config.augment.randaugment_prob_to_apply = 0.5
    config.augment.randaugment_cutout = False
    config.randerasing = ConfigDict({"erase_prob": 0.25})
    config.mix = ConfigDict({"mixup_alpha": 0.8, "prob_to_apply": 1.0, "smoothing": 0.1})

    config.log_loss_every_steps = 500
    config.eval_every_steps = -1
    config.checkpoint_every_steps = 5000
    config.num_eval_steps = -1
    config.eval_pad_last_batch = True
    config.eval_only = False
    config.init_checkpoint = ""
    return config
