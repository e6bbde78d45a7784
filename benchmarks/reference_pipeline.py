"""The input pipeline of NesT's own code, with which ours is compared on the same encoded images.

It runs the functions of a checkout of https://github.com/google-research/nested-transformer, unchanged and in the order
of its `libml.input_pipeline`. TensorFlow Addons, which that code wants for three functions, has ended with TensorFlow
2.15; they are here.
"""

import importlib
import pathlib
import runpy
import sys
import types

import tensorflow as tf

from keras_nest.data.keys import Stream, derive_key
from keras_nest.data.sources.base import ONLY_HOST, Example, Source


def reference(checkout: pathlib.Path, source: Source, side: int, batch_size: int) -> tf.data.Dataset:
    """Batches of the recipe for ImageNet as NesT's code makes them, normalized, erased and mixed.

    Args:
        checkout: directory of the reference's repository.
        source: JPEG files with classes.
        side: of the images in pixels.
        batch_size: images a batch.

    Raises:
        ModuleNotFoundError: the directory has no such code.
    """
    sys.modules.setdefault("tensorflow_addons", addons())
    sys.path.insert(0, str(checkout))
    preprocess = importlib.import_module("libml.preprocess")
    config = runpy.run_path(str(checkout / "configs" / "imagenet_nest.py"))["get_config"]()
    config.augment.size = config.colorjitter.size = side
    mean, std = (
        tf.constant(numbers, tf.float32, (1, 1, 3))
        for numbers in (preprocess.IMAGENET_DEFAULT_MEAN, preprocess.IMAGENET_DEFAULT_STD)
    )
    prepare = preprocess.get_augment_preprocess(
        config.augment,
        colorjitter_params=config.colorjitter,
        randerasing_params=config.randerasing,
        mean=mean,
        std=std,
        basic_process=lambda features: preprocess.train_preprocess(features, side),
    )
    mix = preprocess.create_mix_augment(num_classes=source.info.num_classes, **config.mix.to_dict())

    def prepared(place: tf.Tensor, example: Example) -> dict[str, tf.Tensor]:
        key = derive_key(0, Stream.EXAMPLE, place)
        return prepare({"image": example.content, "label": example.label, "rng": key})

    def mixed(place: tf.Tensor, batch: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        return mix({**batch, "rng": derive_key(0, Stream.BATCH, place)})

    examples = source.train.shuffled(0, ONLY_HOST, 0).enumerate().map(prepared, tf.data.AUTOTUNE)
    return examples.batch(batch_size, drop_remainder=True).enumerate().map(mixed, tf.data.AUTOTUNE).prefetch(4)


def addons() -> types.ModuleType:
    """A module with what the reference takes from `tensorflow_addons.image`: the nearest pixels, and 0 outside."""

    def transform(image: tf.Tensor, matrix: tf.Tensor) -> tf.Tensor:
        moved = tf.raw_ops.ImageProjectiveTransformV3(
            images=image[None],
            transforms=tf.reshape(tf.convert_to_tensor(matrix, tf.float32), (1, 8)),
            output_shape=tf.shape(image)[:2],
            fill_value=0.0,
            interpolation="NEAREST",
            fill_mode="CONSTANT",
        )
        return moved[0]

    def translate(image: tf.Tensor, pixels: list[tf.Tensor]) -> tf.Tensor:
        right, down = pixels
        return transform(image, [1.0, 0.0, -right, 0.0, 1.0, -down, 0.0, 0.0])

    def rotate(image: tf.Tensor, radians: tf.Tensor) -> tf.Tensor:
        last_row, last_column = (tf.cast(length - 1, tf.float32) for length in tf.unstack(tf.shape(image)[:2]))
        cosine, sine = tf.cos(radians), tf.sin(radians)
        right = (last_column - (cosine * last_column - sine * last_row)) / 2
        down = (last_row - (sine * last_column + cosine * last_row)) / 2
        return transform(image, [cosine, -sine, right, sine, cosine, down, 0.0, 0.0])

    module = types.ModuleType("tensorflow_addons")
    module.image = types.SimpleNamespace(transform=transform, translate=translate, rotate=rotate)  # type: ignore[attr-defined]
    return module
