"""The input pipeline that layers of Keras make, with which ours is compared on the same encoded images.

The layers are those of `keras.layers` whose names are nearest to the stages of NesT's recipe, as strong
as their arguments allow. They draw otherwise, and RandAugment has other operations.
"""

import functools
from collections.abc import Callable

import keras
import tensorflow as tf

from keras_nest.data.crops import decode_random_crop
from keras_nest.data.keys import Stream, derive_key
from keras_nest.data.sources.base import ONLY_HOST, Source
from keras_nest.specs import IMAGENET


def keras_layers(source: Source, side: int, batch_size: int) -> tf.data.Dataset:
    """The nearest that layers of Keras make.

    Args:
        source: JPEG files with classes.
        side: of the images in pixels.
        batch_size: images a batch.
    """
    levels = (0, 255)
    layers = [
        keras.layers.RandomFlip("horizontal"),
        keras.layers.RandAugment(value_range=levels, num_ops=2, factor=0.9),
        keras.layers.RandomColorJitter(
            levels, brightness_factor=0.24, contrast_factor=0.24, saturation_factor=0.24, hue_factor=0.06
        ),
        keras.layers.RandomErasing(factor=0.25, value_range=levels),
        keras.layers.Normalization(
            mean=[255 * mean for mean in IMAGENET.mean], variance=[(255 * std) ** 2 for std in IMAGENET.std]
        ),
    ]
    mixing = keras.layers.MixUp(0.8), keras.layers.CutMix(1.0)
    classes = source.info.num_classes

    def prepare(place: tf.Tensor, encoded: tf.Tensor) -> tf.Tensor:
        # There is no layer that takes a part of random size.
        image = 255 * decode_random_crop(encoded, derive_key(0, Stream.EXAMPLE, place), side)
        for layer in layers:
            image = layer(image, training=True) if not isinstance(layer, keras.layers.Normalization) else layer(image)
        return tf.ensure_shape(tf.squeeze(image), (side, side, 3))

    def mix(images: tf.Tensor, labels: tf.Tensor) -> dict[str, tf.Tensor]:
        batch = {"images": images, "labels": tf.one_hot(labels, classes)}
        coin = tf.random.uniform([]) < 0.5
        return tf.cond(coin, *(functools.partial(layer, batch, training=True) for layer in mixing))

    return _mapped(source, prepare, batch_size).map(mix)


def _mapped(source: Source, prepare: Callable[..., tf.Tensor], batch_size: int) -> tf.data.Dataset:
    examples = source.train.shuffled(0, ONLY_HOST, 0).enumerate()
    images = examples.map(lambda place, example: (prepare(place, example.content), example.label), tf.data.AUTOTUNE)
    return images.batch(batch_size, drop_remainder=True).prefetch(tf.data.AUTOTUNE)
