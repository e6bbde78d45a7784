"""A small LiT on the handwritten digits: a text tower learns what a trained image tower sees.

First the image tower, then the text tower, each in about a minute on two CPU cores:

    python train_keras.py --config=configs/digits_nest.py --workdir=runs/digits
    python train_keras.py --config=configs/digits_lit.py --workdir=runs/digits_lit
"""

import pathlib

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """`keras-nest train --help` explains the fields, those of the model at `keras_nest.LiT`."""
    config = ConfigDict()
    config.seed = 0

    config.model_name = "LiT-B16B"
    config.image_tower = "runs/digits"
    config.vocab = str(pathlib.Path(__file__).with_name("digits_vocab.txt"))
    config.model = ConfigDict()
    config.model.name = "digits_lit"
    config.model.temperature_init = 10.0
    config.model.text_model = ConfigDict()
    config.model.text_model.vocab_size = 22
    config.model.text_model.hidden_size = 64
    config.model.text_model.num_layers = 2
    config.model.text_model.num_heads = 2
    config.model.text_model.mlp_dim = 128

    config.dataset = "digits"
    config.class_texts = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
    config.templates = (
        "a photo of the digit {}",
        "a scan of a handwritten {}",
        "a picture of the number {}",
        "the handwritten digit {}",
        "{}",
    )
    config.augment = ConfigDict({"type": "shift", "max_shift": 4})

    config.num_epochs = 10
    config.per_device_batch_size = 96
    config.optim = "adamw"
    config.optim_wd_ignore = ["t/t"]
    config.weight_decay = 0.05
    config.learning_rate = 4e-3
    config.learning_rate_schedule = "cosine"
    config.warmup_epochs = 2
    return config
