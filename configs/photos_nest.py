"""A small NesT on class folders of photographs, `--config.dataset=DIR`, with CutMix: minutes on two CPU cores."""

from ml_collections import ConfigDict

from keras_nest.configs import digits_nest


def get_config() -> ConfigDict:
    """The model of the digits with larger patches, on images of 128 pixels."""
    config = digits_nest.get_config()
    config.model.image_size = 128
    config.model.init_patch_embed_size = 4
    config.model.preprocessing = {
        "mean": [0.485, 0.456, 0.406],
        "std": [0.229, 0.224, 0.225],
        "crop_ratio": 1.0,
        "interpolation": "bilinear",
    }
    config.dataset = "photos"
    config.augment = ConfigDict({"type": "shift", "max_shift": 16})
    config.mix = ConfigDict({"mixup_alpha": 0.0, "cutmix_alpha": 1.0, "smoothing": 0.0, "prob_to_apply": 0.8})
    config.num_epochs = 12
    config.warmup_epochs = 2
    return config
