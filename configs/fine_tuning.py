"""What the configurations of ViT, Mixer and AugReg share; not one by itself."""

import os

from ml_collections import ConfigDict

MODELS = {
    "testing": "testing",
    "ti16": "ViT-Ti_16",
    "s16": "ViT-S_16",
    "b16": "ViT-B_16",
    "l16": "ViT-L_16",
    "h14": "ViT-H_14",
    "s16_gap_norep": "ViT-S_16-gap-norep",
    "b16_gap_norep": "ViT-B_16-gap-norep",
    "b8": "ViT-B_8",
    "s32": "ViT-S_32",
    "b32": "ViT-B_32",
    "l32": "ViT-L_32",
    "s32_gap_norep": "ViT-S_32-gap-norep",
    "b32_gap_norep": "ViT-B_32-gap-norep",
    "r_ti16": "R+ViT-Ti_16",
    "r50_b16": "R50+ViT-B_16",
    "r26_b32": "R26+ViT-B_32",
    "r26_s32": "R26+ViT-S_32",
    "r50_l32": "R50+ViT-L_32",
    "mixer_b16": "Mixer-B_16",
    "mixer_b32": "Mixer-B_32",
    "mixer_l16": "Mixer-L_16",
}
"""The reference's short names of models."""

DATASETS = {
    "cifar10": (10_000, {"train": "train[:98%]", "test": "test", "crop": 384}),
    "cifar100": (10_000, {"train": "train[:98%]", "test": "test", "crop": 384}),
    "imagenet2012": (20_000, {"train": "train[:99%]", "test": "validation", "crop": 384}),
}
"""Steps, and which images to take in which size."""

# Of class folders: epochs, steps an epoch at least, and images a step at most.
_EPOCHS, _STEPS, _LARGEST_BATCH = 20, 8, 512


def base_config() -> ConfigDict:
    """Fine-tuning with momentum, without a model and a data set."""
    config = ConfigDict()
    # Where the published weights lie, such as gs://vit_models/imagenet21k.
    config.pretrained_dir = "."
    config.tfds_data_dir = None
    config.tfds_manual_dir = None

    config.optim_dtype = "bfloat16"
    config.grad_norm_clip = 1.0
    config.accum_steps = 8
    # Of all devices together.
    config.batch = 512
    config.batch_eval = 512
    config.shuffle_buffer = 50_000
    config.prefetch = 2
    config.base_lr = 0.03
    config.decay_type = "cosine"
    config.warmup_steps = 500

    config.eval_every = 100
    config.progress_every = 10
    config.checkpoint_every = 1000
    config.trainer = "train"
    config.model = ConfigDict()
    config.model_or_filename = None
    return config


def with_dataset(config: ConfigDict, dataset: str) -> ConfigDict:
    """Adds a data set, its number of steps and its images.

    Args:
        config: without a data set.
        dataset: a name of `DATASETS`, or a directory with images in DIR/{train,test}/CLASS/.

    Raises:
        ValueError: there are no settings for it.
    """
    if os.path.isdir(os.path.join(dataset, "")):
        return _with_folder(config, dataset)
    if dataset not in DATASETS:
        raise ValueError(
            f"There is no directory {dataset!r}, and no settings for a data set of that name; there are for "
            f"{', '.join(DATASETS)}."
        )
    steps, images = DATASETS[dataset]
    config.dataset, config.total_steps, config.pp = dataset, steps, ConfigDict(images)
    return config


def _with_folder(config: ConfigDict, folder: str) -> ConfigDict:
    """Adds class folders; batch, steps and learning rate follow from the number of files for training."""
    train = os.path.join(folder, "train")
    if not os.path.isdir(train):
        raise ValueError(
            f"{folder} has no directory train; images must lie as {{train,test}}/CLASS/image.jpg. "
            "`keras-nest finetune` takes class folders that are not divided."
        )
    images = sum(len(files) for _, _, files in os.walk(train))
    batch = _LARGEST_BATCH
    while batch > 1 and batch * _STEPS > images:
        batch //= 2
    # The rate is that of 512 images, and scaled with the batch.
    config.base_lr = config.base_lr * batch / _LARGEST_BATCH
    config.batch, config.batch_eval, config.accum_steps = batch, batch, max(1, batch // 64)
    config.total_steps = max(1, _EPOCHS * images // batch)
    config.warmup_steps = config.total_steps // 10
    config.eval_every = config.checkpoint_every = max(1, images // batch)
    config.dataset, config.pp = folder, ConfigDict({"train": "train", "crop": 384})
    return config


def model_name(short: str) -> str:
    """Published name of a model.

    Raises:
        ValueError: unknown short name.
    """
    if short not in MODELS:
        raise ValueError(f"There is no model {short!r}; it must be one of {', '.join(MODELS)}.")
    return MODELS[short]
