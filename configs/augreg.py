"""Fine-tunes an AugReg checkpoint: `--config=configs/augreg.py:R_Ti_16 --config.dataset=oxford_iiit_pet`.

The best checkpoint of that model on ImageNet-21k is taken; the full name of a file, without .npz, takes that one. The
rest of the command line is mostly `--config.pp.train='train[:90%]' --config.base_lr=0.01`.
"""

from keras_nest.configs.fine_tuning import MODELS, base_config
from ml_collections import ConfigDict


def get_config(model_or_filename: str) -> ConfigDict:
    """Fields as in the reference's configuration; `keras-nest train --help` explains them.

    Raises:
        ValueError: AugReg has no such model.
    """
    models = {name.replace("ViT-", "").replace("+", "_"): name for name in MODELS.values()}
    model = model_or_filename.split("-")[0]
    if model not in models:
        raise ValueError(f"AugReg has no model {model!r}; it must be one of {', '.join(models)}.")
    config = base_config()
    config.pretrained_dir = "gs://vit_models/augreg"
    config.model_or_filename = model_or_filename
    config.model_name = models[model]
    config.model.dropout_rate = 0.0

    config.base_lr = 0.03
    config.total_steps = 500
    config.warmup_steps = 100
    # The command line says which.
    config.dataset = ""
    config.pp = ConfigDict({"train": "train", "test": "test", "resize": 448, "crop": 384})
    return config
