"""Training images of which all classes come up equally often, however rare they are."""

import dataclasses

import numpy as np
import tensorflow as tf

from keras_nest.data.keys import Stream, derive_key
from keras_nest.data.sources.base import Example, Examples, Host, IndexedExamples, Source, map_in_order


def balance_classes(source: Source) -> Source:
    """The same data set, whose training images are drawn as `BalancedExamples` does.

    Raises:
        ValueError: its images have captions, or come one after the other as those of TFDS do.
    """
    if source.info.has_captions or not isinstance(source.train, IndexedExamples):
        raise ValueError(
            f"sampling is 'balanced', for which each image of {source.info.name} must have a class and a file of its "
            "own; leave it out, or give class_weights."
        )
    return dataclasses.replace(source, train=BalancedExamples(source.train))


class BalancedExamples(Examples):
    """In each round an image of every class, in a random order; of a class each image once before any comes up again.

    An epoch has as many images as before, so that not all of a large class are among them.

    Args:
        examples: images with classes.
    """

    def __init__(self, examples: IndexedExamples) -> None:
        self._examples = examples
        classes, counts = np.unique(examples.labels, return_counts=True)
        # Of all classes one after the other, and where each begins.
        self._members = tf.constant(np.argsort(examples.labels, kind="stable"), tf.int64)
        self._counts = tf.constant(counts, tf.int64)
        self._starts = tf.constant(np.cumsum(counts) - counts, tf.int64)
        self._classes = len(classes)

    def __len__(self) -> int:
        return len(self._examples)

    def in_order(self, host: Host) -> tf.data.Dataset:
        """Every image of a host's part once, see `Examples.in_order`."""
        return self._examples.in_order(host)

    def shuffled(self, seed: int, host: Host, first: int) -> tf.data.Dataset:
        """Endless images, all classes equally often; see `Examples.shuffled`."""

        def example_at(step: tf.Tensor) -> Example:
            position = step * host.count + host.index
            return self._examples.at(self._index(seed, position // self._classes, position % self._classes))

        return map_in_order(tf.data.Dataset.range(first, tf.int64.max), example_at)

    def _index(self, seed: int, turn: tf.Tensor, place: tf.Tensor) -> tf.Tensor:
        """The image at a place of a round."""
        shuffle = tf.random.experimental.index_shuffle
        label = shuffle(place, derive_key(seed, Stream.CLASSES, turn), self._classes - 1)
        count = self._counts[label]
        key = derive_key(seed, Stream.ORDER, turn // count * self._classes + label)
        return self._members[self._starts[label] + shuffle(turn % count, key, count - 1)]
