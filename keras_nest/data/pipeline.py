"""From a split in memory to batches, the same on every run."""

import tensorflow as tf

from keras_nest.data.augmentation import Augmentation
from keras_nest.data.info import Split

# Shuffling and augmentation draw from streams of their own.
_SHUFFLE, _AUGMENT = 1, 2


def train_batches(
    split: Split, batch_size: int, seed: int, augment: Augmentation | None = None, first_step: int = 0
) -> tf.data.Dataset:
    """Endless shuffled and augmented batches.

    An epoch visits each image at most once, in an order of its own, and leaves out what does not fill a batch. The
    order depends on (seed, epoch) alone and the augmentation of an image on (seed, epoch, its index), so that a run
    can start at any step and parallel work changes nothing.

    Args:
        split: the training images.
        batch_size: images a batch.
        seed: of order and augmentation.
        augment: changes one image; None leaves them as they are.
        first_step: number of batches to leave out; they cost nothing.

    Returns:
        Batches of images (B, H, W, C) uint8 and labels (B,) int32; `steps_per_epoch` of them are an epoch.

    Raises:
        ValueError: the split does not fill one batch.
    """
    examples_per_epoch = steps_per_epoch(split, batch_size) * batch_size
    last = len(split.labels) - 1
    images, labels = tf.constant(split.images), tf.constant(split.labels)

    def example(position: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        epoch, place = position // examples_per_epoch, position % examples_per_epoch
        index = tf.random.experimental.index_shuffle(place, _key(seed, _SHUFFLE, epoch), last)
        image = images[index]
        if augment is not None:
            image = augment(image, _key(seed, _AUGMENT, epoch * (last + 1) + index))
        return image, labels[index]

    positions = tf.data.Dataset.range(first_step * batch_size, tf.int64.max)
    examples = positions.map(example, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    return examples.batch(batch_size, drop_remainder=True).prefetch(tf.data.AUTOTUNE)


def eval_batches(split: Split, batch_size: int) -> tf.data.Dataset:
    """Every image once, in order; the last batch may be smaller.

    Args:
        split: the test images.
        batch_size: images a batch.

    Returns:
        Batches of images (B, H, W, C) uint8 and labels (B,) int32.
    """
    return tf.data.Dataset.from_tensor_slices(tuple(split)).batch(batch_size).prefetch(tf.data.AUTOTUNE)


def steps_per_epoch(split: Split, batch_size: int) -> int:
    """Number of full batches.

    Raises:
        ValueError: there is none.
    """
    if not 0 < batch_size <= len(split.labels):
        raise ValueError(f"A batch of {batch_size} cannot be filled from {len(split.labels)} training images.")
    return len(split.labels) // batch_size


def _key(seed: int, stream: int, counter: tf.Tensor) -> tf.Tensor:
    """Key (2,) int64 for one draw; different seeds, streams and counters give unrelated draws."""
    return tf.stack([tf.constant(2 * seed + stream, tf.int64), counter])
