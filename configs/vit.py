"""Fine-tunes a ViT, hybrid or Mixer: `--config=configs/vit.py:b16,cifar10 --config.pretrained_dir=DIR`."""

from keras_nest.configs.fine_tuning import base_config, model_name, with_dataset
from ml_collections import ConfigDict


def get_config(model_dataset: str) -> ConfigDict:
    """Fields as in the reference's configuration; `keras-nest train --help` explains them.

    The reference takes CIFAR-10 whatever the argument says; here it is the data set that is named.

    Args:
        model_dataset: short name of a model, a comma, and a data set: "b16,cifar10", or a directory of class folders:
            "b16,photos/".

    Raises:
        ValueError: the argument names no model or data set.
    """
    model, comma, dataset = model_dataset.partition(",")
    if not comma:
        raise ValueError(f"The configuration's argument is {model_dataset!r}; it must be MODEL,DATASET: b16,cifar10.")
    config = with_dataset(base_config(), dataset)
    config.model_name = model_name(model)
    if model == "b16" and dataset == "cifar10":
        config.base_lr = 0.01
    return config
