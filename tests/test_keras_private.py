"""What is used of Keras without its promise; whoever raises the version of Keras looks here first."""

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_nest import keras_private

IMAGES = np.zeros((2, 3), "float32")


def asking():
    """A layer, and what it finds as its outermost model in its calls."""
    found = []

    class Asking(keras.layers.Layer):
        def call(self, x):
            found.append(keras_private.outermost_model(self))
            return x

    return Asking(), found


def test_outermost_model():
    layer, found = asking()
    inner = keras.Sequential([layer])
    outer = keras.Sequential([inner])
    for called, expected in ((outer, outer), (inner, inner), (layer, None)):
        called(IMAGES)
        assert found[-1] is expected


@pytest.mark.parametrize("eagerly", [True, False])
def test_outermost_model_in_a_step_and_its_compilation(eagerly):
    layer, found = asking()
    outer = keras.Sequential([keras.Sequential([layer])])
    outer.compile("sgd", "mse", metrics=["mae"], weighted_metrics=[["mape"]], run_eagerly=eagerly)
    assert not outer.test_function
    outer.evaluate(IMAGES, IMAGES, verbose=0)
    assert found[-1] is outer
    assert outer.test_function
    assert keras_private.compiled_metrics(outer) == (["mae"], [["mape"]])
    compilation = keras_private.compilation(outer)
    assert keras_private.compilation(outer) is compilation
    outer.compile("sgd")
    assert keras_private.compilation(outer) is not compilation
    # Keras keeps what it is not given anew.
    assert (outer.loss, *keras_private.compiled_metrics(outer)) == ("mse", ["mae"], [["mape"]])


def test_producer():
    inputs = keras.Input((3,))
    double = keras.layers.Add()
    operation, index, args, kwargs = keras_private.producer(double([inputs, inputs]))
    assert (operation, index, kwargs) == (double, 0, {})
    assert keras.tree.flatten(args) == [inputs, inputs]
    two = keras.Model(inputs, [double([inputs, inputs]), inputs])
    assert keras_private.producer(two(inputs)[1])[:2] == (two, 1)
    assert type(keras_private.producer(keras.ops.softmax(inputs))[0]).__name__ == "Softmax"


def test_unwrap():
    function = keras.losses.sparse_categorical_crossentropy
    for wrapped in (
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        keras.metrics.MeanMetricWrapper(function, from_logits=True),
    ):
        found = keras_private.unwrap(wrapped)
        assert (found.func, found.keywords["from_logits"]) == (function, True)
    bound = functools.partial(function, from_logits=True)
    assert keras_private.unwrap(bound) is bound
    assert keras_private.unwrap(None) is None


@pytest.mark.parametrize("eagerly", [True, False])
def test_an_error_arrives_as_it_was_raised(eagerly):
    armed = []

    class Raising(keras.layers.Layer):
        def call(self, x):
            if armed:
                raise keras_private.keep_short(ValueError("One sentence."))
            return x

    model = keras.Sequential([keras.Input((3,)), keras.Sequential([Raising()])])
    model.compile("sgd", "mse", run_eagerly=eagerly)
    armed.append(True)
    with pytest.raises(ValueError, match=r"^One sentence\.$"):
        model.train_on_batch(IMAGES, IMAGES)
    with pytest.raises(ValueError, match=r"^One sentence\.$"):
        tf.function(lambda x: model(x), autograph=True)(IMAGES)
