"""Random keys: every draw has one of its own, made of the seed, what is drawn, and how often it was before."""

import enum

import tensorflow as tf

from keras_nest.graphs import as_written


class Stream(enum.IntEnum):
    """What a key is for; draws of different streams are unrelated."""

    ORDER = 1
    EXAMPLE = 2
    BATCH = 3
    CAPTION = 4
    CLASSES = 5


@as_written
def derive_key(seed: int, stream: Stream, counter: int | tf.Tensor) -> tf.Tensor:
    """The key of one draw.

    Args:
        seed: of the whole pipeline, a number of 64 bits.
        stream: what is drawn.
        counter: which epoch, position or batch.

    Returns:
        int64 (2,); different arguments give unrelated draws.
    """
    base = tf.constant([seed, int(stream)], tf.int64)
    return tf.random.fold_in(base, tf.cast(counter, tf.int64))
