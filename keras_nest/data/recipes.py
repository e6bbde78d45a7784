"""What happens to the images of a data set between a file and a batch, stage by stage.

Each stage is a function that can be taken alone; a recipe names those that it uses, and `dataclasses.replace` exchanges
one.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import TypeAlias

import tensorflow as tf

from keras_nest.data.color_jitter import random_color_jitter
from keras_nest.data.crops import decode_random_crop, normalize, pad_and_crop, random_flip, random_resized_crop
from keras_nest.data.erasing import random_erasing
from keras_nest.data.mixing import Batch, random_mix
from keras_nest.data.randaugment import RandAugment
from keras_nest.data.sources.base import DatasetInfo, Example, decode
from keras_nest.hints import did_you_mean
from keras_nest.pixels import as_channels
from keras_nest.preprocessing import EvalPreprocessing
from keras_nest.specs import CIFAR10, CIFAR100, IMAGENET, STRETCHED, PreprocessingSpec
from keras_nest.types import Size, as_size

Crop: TypeAlias = Callable[[Example, tf.Tensor, Size], tf.Tensor]
"""(example, key (2,), (height, width)) -> uint8 in 0..255 or float32 in [0, 1], (height, width, 3)."""
Stage: TypeAlias = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]
"""(image (H, W, 3), key (2,)) -> image of the same shape and dtype."""
Mix: TypeAlias = Callable[[tf.Tensor, tf.Tensor, tf.Tensor, int], Batch]
"""(images (B, H, W, 3), labels (B,), key (2,), number of classes K) -> images, labels (B, K)."""

_CIFAR_SIDE = 32


@dataclasses.dataclass(frozen=True)
class Recipe:
    """The stages of training and evaluation, in the order in which an image meets them.

    The key of a training image is split in four: crop and flip (split in three: one not used, crop, flip), RandAugment,
    erasing, color jitter.

    Attributes:
        preprocessing: how test images are resized and cropped, and how all are normalized; a dictionary becomes a
            `PreprocessingSpec`.
        crop: takes a part of the image, in the size of the model; None takes that of the test images.
        shift: moves the image; with the key of the crop, whose place it takes. None leaves it out, as with all the
            following.
        flip: mirrors the image.
        randaugment: on uint8.
        color_jitter: on uint8.
        erasing: on the normalized image.
        mix: of a batch, on normalized images; makes probabilities of labels.
        channels: C of the images that the model takes: 3, or 1 for gray ones, which are made of the colors (BT.601)
            before they are normalized.

    Raises:
        ValueError: `preprocessing` is no specification, or of so many channels there are no images.
    """

    preprocessing: PreprocessingSpec
    crop: Crop | None = None
    shift: Stage | None = None
    flip: Stage | None = None
    randaugment: Stage | None = None
    color_jitter: Stage | None = None
    erasing: Stage | None = None
    mix: Mix | None = None
    channels: int = 3

    def __post_init__(self) -> None:
        object.__setattr__(self, "preprocessing", PreprocessingSpec.from_dict(self.preprocessing))
        if self.channels not in (1, 3):
            raise ValueError(f"Images have 1 or 3 channels, and {self.channels!r} are asked for (in_channels).")

    def pixels(self, example: Example, key: tf.Tensor, size: Size) -> tf.Tensor:
        """A training image before it is normalized.

        Args:
            example: image and label.
            key: integer (2,).
            size: (height, width) in pixels.

        Returns:
            uint8 in 0..255 or float32 in [0, 1], (height, width, C).
        """
        basic, randaugment_key, _, jitter_key = tf.unstack(tf.random.split(key, 4))
        _, crop_key, flip_key = tf.unstack(tf.random.split(basic, 3))
        image = self._tested_part(example, size) if self.crop is None else self.crop(example, crop_key, size)
        # The reference cuts to levels behind the flip, which takes a quarter of the time with levels.
        if self.randaugment is not None or self.color_jitter is not None:
            image = as_uint8(image)
        stages = (self.shift, self.flip, self.randaugment, self.color_jitter)
        for stage, stage_key in zip(stages, (crop_key, flip_key, randaugment_key, jitter_key), strict=True):
            if stage is not None:
                image = stage(image, stage_key)
        return tf.ensure_shape(as_channels(image, self.channels), (*size, self.channels))

    def train_image(self, example: Example, key: tf.Tensor, size: Size) -> tf.Tensor:
        """A training image as the model takes it.

        Args:
            example: image and label.
            key: integer (2,).
            size: (height, width) in pixels.

        Returns:
            float32 (height, width, C), normalized.
        """
        image = self.normalize(self.pixels(example, key, size))
        return image if self.erasing is None else self.erasing(image, tf.random.split(key, 4)[2])

    def test_image(self, example: Example, size: Size) -> tf.Tensor:
        """A test image as the model takes it.

        Args:
            example: image and label.
            size: (height, width) in pixels.

        Returns:
            float32 (height, width, C), normalized.
        """
        return EvalPreprocessing(size, **self.preprocessing.broadcast(self.channels))(decode(example))

    def normalize(self, images: tf.Tensor) -> tf.Tensor:
        """Images of mean 0 and standard deviation 1, over a large data set.

        Args:
            images: (…, C), uint8 in 0..255 or float in [0, 1].

        Returns:
            float32 (…, C).
        """
        return normalize(images, self.preprocessing.mean, self.preprocessing.std)

    def finish(self, images: tf.Tensor, labels: tf.Tensor, keys: tf.Tensor, classes: int) -> Batch:
        """What is left to do with a batch that traveled as uint8: normalize, erase, mix.

        Inside a train step it runs on the accelerator. The draws are not those that the input pipeline makes, and with
        XLA again others; they depend on the keys alone.

        Args:
            images: uint8 (B, H, W, C).
            labels: integer (B,).
            keys: integer (B, 2), those of the images.
            classes: number of classes, K.

        Returns:
            Images float32 (B, H, W, C); labels as they were, or with `mix` float32 (B, K).
        """
        erasing_key, mix_key = tf.unstack(tf.random.split(keys[0], 2))
        images = self.normalize(images)
        if self.erasing is not None:
            images = self.erasing(images, erasing_key)
        return (images, labels) if self.mix is None else self.mix(images, labels, mix_key, classes)

    @property
    def finishes_alike(self) -> bool:
        """Whether `finish` makes what `train_image` makes: nothing is drawn behind the levels, and nothing rounded."""
        has_levels = self.randaugment is not None or self.color_jitter is not None
        return has_levels and self.channels == 3 and self.erasing is None and self.mix is None

    def for_channels(self, channels: int) -> "Recipe":
        """The same for images of another number of channels.

        Args:
            channels: 1 or 3; the preprocessing gets the average of its channels, if it is for others.

        Raises:
            ValueError: images have no such number of channels.
        """
        spec = self.preprocessing
        spec = spec if len(spec.mean) in (1, channels) else spec.for_channels(channels)
        return dataclasses.replace(self, preprocessing=spec, channels=channels)

    def _tested_part(self, example: Example, size: Size) -> tf.Tensor:
        """What evaluation takes of the image, float32 in [0, 1]."""
        return EvalPreprocessing(size, **self.preprocessing.pixels_only(3))(decode(example))


def as_uint8(image: tf.Tensor) -> tf.Tensor:
    """[0, 1] floats to levels; the fraction is cut off. uint8 stays as it is."""
    return image if image.dtype == tf.uint8 else tf.cast(image * 255.0, tf.uint8)


def crop_resized(example: Example, key: tf.Tensor, size: Size) -> tf.Tensor:
    """A random part of the image, resized: `random_box` of the encoded or decoded image.

    Returns:
        float32 (height, width, 3) in [0, 1].
    """
    if example.content.dtype == tf.string:
        return decode_random_crop(example.content, key, size, example.orientation)
    return random_resized_crop(example.content, key, size)


def crop_enlarged(example: Example, key: tf.Tensor, size: Size) -> tf.Tensor:
    """A random part of a small image that was enlarged to 256/224 of the size, as on CIFAR at other sizes than 32.

    The reference writes the enlarged image as JPEG before it takes a part, which no published model was trained with,
    and which is left out here.

    Returns:
        float32 (height, width, 3) in [0, 1].
    """
    enlarged = [int(side * (256 / 224)) for side in size]
    image = tf.saturate_cast(tf.image.resize(decode(example), enlarged), tf.uint8)
    return random_resized_crop(image, key, size)


def nest_imagenet(info: DatasetInfo, size: Size) -> Recipe:
    """Training of NesT on ImageNet: random resized crop, flip, RandAugment, color jitter, erasing, mixing.

    Source: reference `configs/imagenet_nest.py`.
    """
    return Recipe(
        IMAGENET,
        crop=crop_resized,
        flip=random_flip,
        randaugment=RandAugment(image_size=size[0]),
        color_jitter=random_color_jitter,
        erasing=random_erasing,
        mix=random_mix,
    )


def nest_cifar(info: DatasetInfo, size: Size) -> Recipe:
    """Training of NesT on CIFAR: shift by 2 pixels, flip, RandAugment, erasing, mixing.

    At other sizes than 32x32 pixels the images are enlarged and parts of them taken, in training and in evaluation.

    Source: reference `configs/cifar_nest.py` and `libml/preprocess.py`.
    """
    recipe = Recipe(
        _cifar_preprocessing(info),
        shift=functools.partial(pad_and_crop, pad=2),
        flip=random_flip,
        randaugment=RandAugment(image_size=size[0]),
        erasing=random_erasing,
        mix=random_mix,
    )
    if size == (_CIFAR_SIDE, _CIFAR_SIDE):
        return recipe
    enlarged = dataclasses.replace(recipe.preprocessing, crop_ratio=224 / 256, truncate=True)
    return dataclasses.replace(recipe, preprocessing=enlarged, crop=crop_enlarged, shift=None)


def nest(info: DatasetInfo, size: Size) -> Recipe:
    """`nest_cifar` for CIFAR-10 and CIFAR-100, `nest_imagenet` for everything else."""
    return (nest_cifar if info.name.startswith("cifar") else nest_imagenet)(info, size)


def vit(info: DatasetInfo, size: Size) -> Recipe:
    """Fine-tuning of ViT and Mixer: random resized crop and flip; test images are squeezed into the size.

    Source: reference `vit_jax/input_pipeline.py`.
    """
    return Recipe(STRETCHED, crop=crop_resized, flip=random_flip)


def plain(info: DatasetInfo, size: Size) -> Recipe:
    """Training images are treated as test images; nothing is random but their order.

    Images that all have the right size are taken whole, others as those of ImageNet.
    """
    if info.name.startswith("cifar"):
        return Recipe(_cifar_preprocessing(info))
    whole = info.image_shape[:2] == size
    return Recipe(dataclasses.replace(IMAGENET, crop_ratio=1.0) if whole else IMAGENET)


def shift(info: DatasetInfo, size: Size) -> Recipe:
    """`plain`, with images moved by up to 4 pixels, zeros around them; nothing is mirrored."""
    return dataclasses.replace(plain(info, size), shift=functools.partial(pad_and_crop, pad=4))


RECIPES: dict[str, Callable[[DatasetInfo, Size], Recipe]] = {
    "nest": nest,
    "nest_imagenet": nest_imagenet,
    "nest_cifar": nest_cifar,
    "vit": vit,
    "mixer": vit,
    "shift": shift,
    "plain": plain,
}
"""Recipes by name, each for a data set and a size."""


def create_recipe(name: str, info: DatasetInfo, image_size: int | Size) -> Recipe:
    """A recipe by its name.

    Args:
        name: one of `RECIPES`.
        info: the data set.
        image_size: side or (height, width) of the images in pixels.

    Raises:
        ValueError: unknown name.
    """
    if name not in RECIPES:
        raise ValueError(f"There is no recipe {name!r}; {did_you_mean(str(name), RECIPES)}")
    return RECIPES[name](info, as_size(image_size))


def _cifar_preprocessing(info: DatasetInfo) -> PreprocessingSpec:
    return CIFAR100 if info.name.startswith("cifar100") else CIFAR10
