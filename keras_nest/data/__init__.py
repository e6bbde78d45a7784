"""Labeled images by name, and what happens to them before a model sees them.

>>> train, test, info = keras_nest.data.load("cifar10", recipe="nest", image_size=32, batch_size=192)
>>> model.compile("adamw")
>>> model.fit(train, steps_per_epoch=train.steps_per_epoch, epochs=300, shuffle=False)
"""

import dataclasses
import os
from collections.abc import Mapping
from typing import Any

from keras_nest.data.captions import Captions, captioned_batches
from keras_nest.data.color_jitter import random_color_jitter
from keras_nest.data.configuration import recipe_of
from keras_nest.data.crops import normalize, pad_and_crop, random_flip, random_resized_crop
from keras_nest.data.erasing import random_erasing
from keras_nest.data.mixing import cutmix, mixup, random_mix
from keras_nest.data.pipeline import (
    PreparedBatches,
    TrainBatches,
    Transfer,
    eval_batches,
    train_batches,
    without_filling,
)
from keras_nest.data.randaugment import RandAugment
from keras_nest.data.recipes import RECIPES, Recipe, create_recipe
from keras_nest.data.sources import ONLY_HOST, Host, Source, open_source
from keras_nest.data.sources.base import DatasetInfo, Split
from keras_nest.specs import PreprocessingSpec
from keras_nest.types import Size, as_size

__all__ = [
    "RECIPES",
    "Captions",
    "DatasetInfo",
    "Host",
    "PreparedBatches",
    "RandAugment",
    "Recipe",
    "Source",
    "Split",
    "TrainBatches",
    "captioned_batches",
    "create_recipe",
    "cutmix",
    "eval_batches",
    "load",
    "mixup",
    "normalize",
    "open_source",
    "pad_and_crop",
    "random_color_jitter",
    "random_erasing",
    "random_flip",
    "random_mix",
    "random_resized_crop",
    "recipe_of",
    "train_batches",
    "without_filling",
]


def load(
    name: str | os.PathLike[str],
    recipe: str | Recipe = "plain",
    image_size: int | Size | None = None,
    batch_size: int = 64,
    seed: int = 0,
    *,
    host: Host = ONLY_HOST,
    transfer: Transfer = "float32",
    channels: int | None = None,
    preprocessing: Mapping[str, Any] | None = None,
    service: str | None = None,
    **options: Any,
) -> tuple[TrainBatches, PreparedBatches, DatasetInfo]:
    """Batches of a data set, for training and for evaluation.

    Everything follows from the seed: the same arguments give the same bytes, however many run in parallel, and
    `train.skip(k)` gives what is left after k steps without reading what it leaves out.

    Args:
        name: "digits"; a directory DIR with images in DIR/{train,test}/CLASS/; or a data set of TFDS such as "cifar10"
            or "imagenet2012".
        recipe: one of `RECIPES`, or a recipe made with `create_recipe` and `dataclasses.replace`.
        image_size: side or (height, width) of the images in pixels; None is that of the data set, or 224.
        batch_size: images a step, of all hosts together.
        seed: of everything random.
        host: which of the processes that train together this is.
        transfer: "float32" gives finished batches, "uint8" what `Recipe.finish` finishes in the train step.
        channels: of the images: 3, or 1 for models with `in_channels=1`; None is what the recipe says, 3 by name.
        preprocessing: how images are normalized, and test images resized and cropped: that of the model,
            `model.config["preprocessing"]`; None is what the recipe says.
        service: address of a tf.data service, "grpc://HOST:PORT", whose workers prepare the training images.
        **options: `train_split`, `test_split`, `data_dir`, `shuffle_buffer`, `broken` and `converted` of
            `open_source`.

    Returns:
        train: endless batches of `train_batches`, with `steps_per_epoch`.
        test: batches of `eval_batches`: images, labels, and weights that are 0 where a batch is filled up.
        info: names and sizes.

    Raises:
        ValueError: what is asked for does not exist, or not in this way; see `open_source`; or `preprocessing` is none.
        FileNotFoundError: the data set is not there; how to get it is told.
        ModuleNotFoundError: the package that holds or reads the data is not installed.
        ConnectionError: no service answers.
    """
    source = open_source(name, **options)
    size = source.info.usual_size if image_size is None else as_size(image_size)
    if not isinstance(recipe, Recipe):
        recipe = create_recipe(recipe, source.info, size)
    if preprocessing is not None:
        recipe = dataclasses.replace(recipe, preprocessing=PreprocessingSpec.from_dict(preprocessing))
    if channels is not None:
        recipe = recipe.for_channels(channels)
    train = train_batches(source, recipe, size, batch_size, seed, host, transfer, service=service)
    return train, eval_batches(source, recipe, size, batch_size, host), source.info
