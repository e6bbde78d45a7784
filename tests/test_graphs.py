"""What AutoGraph rewrites: stages of users, and nothing of ours."""

import dataclasses

import pytest
import tensorflow as tf

from keras_nest import data
from keras_nest.data.sources import digits
from keras_nest.graphs import as_written


def by_the_value(image, key):
    if tf.reduce_any(key != 0):
        return tf.zeros_like(image)
    return image


def test_functions_as_they_are_written_cannot_decide_by_tensors():
    arguments = tf.ones(3), tf.ones(2)
    assert tf.reduce_sum(tf.function(by_the_value)(*arguments)) == 0
    with pytest.raises(tf.errors.OperatorNotAllowedInGraphError):
        tf.function(as_written(by_the_value))(*arguments)


@pytest.mark.slow
def test_stages_of_users_can():
    source = digits.open_digits()
    recipe = dataclasses.replace(data.create_recipe("shift", source.info, 32), flip=by_the_value)
    images, _ = next(iter(data.train_batches(source, recipe, (32, 32), 8, 0)))
    assert tf.reduce_all(images == images[:, :1, :1])
