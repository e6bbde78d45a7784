"""Keys: what TensorFlow makes of them, which the reference's numbers rest on, and that none is used twice."""

import itertools

import numpy as np
import tensorflow as tf

from keras_nest.data.keys import Stream, derive_key
from tests.golden import augment_loading


def test_splitting_and_folding_are_those_of_the_reference():
    split = tf.random.split(tf.constant([1, 2]), 6)
    np.testing.assert_array_equal(split, augment_loading.array("rng/split_[1,2]_into_6"))
    base = tf.constant([7, 9], tf.int64)
    folded = [tf.random.fold_in(base, tf.constant(index)) for index in range(5)]
    np.testing.assert_array_equal(folded, augment_loading.array("rng/fold_in"))


def test_every_draw_has_a_key_of_its_own():
    asked = itertools.product((0, 1, -1, 2**62), Stream, (0, 1, 2, 2**40))
    keys = {tuple(derive_key(*one).numpy()) for one in asked}
    assert len(keys) == 4 * len(Stream) * 4


def test_a_counter_may_be_a_tensor():
    key = tf.function(lambda counter: derive_key(3, Stream.EXAMPLE, counter))(tf.constant(5, tf.int64))
    assert key.dtype == tf.int64
    np.testing.assert_array_equal(key, derive_key(3, Stream.EXAMPLE, 5))
