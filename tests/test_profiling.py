import keras
import pytest
import tensorflow as tf

import keras_nest
from keras_nest.profiling import count_macs, count_parameters
from tests.golden import loading


@pytest.mark.slow
def test_a_published_model_has_the_counts_of_the_reference():
    """The others: tests/models/test_published_models.py."""
    model = keras_nest.create_model("nest_tiny_s16_32")
    assert count_parameters(model) == loading.parameter_count("nest_tiny_s16_32")
    assert count_macs(model) == loading.facts("manifest")["variants"]["nest_tiny_s16_32"]["matmul_conv_macs_batch1"]


def test_parameters_include_frozen_ones_but_no_statistics():
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(4), keras.layers.BatchNormalization()])
    model.layers[0].trainable = False
    assert count_parameters(model) == 3 * 4 + 4 + 2 * 4


class Einsum(keras.layers.Layer):
    """TensorFlow's einsum with a constant, which `keras.ops.einsum` would rewrite to matrix products."""

    def __init__(self, equation):
        super().__init__()
        self.equation = equation

    def call(self, x):
        return tf.einsum(self.equation, x, tf.ones((x.shape[1], x.shape[-1])))


LAYERS = [
    (keras.layers.Dense(7), (5,), 5 * 7),
    (keras.layers.Dense(7), (3, 5), 3 * 5 * 7),
    (keras.layers.Conv2D(6, 3, padding="same"), (8, 8, 4), 8 * 8 * 6 * 3 * 3 * 4),
    (keras.layers.Conv2D(6, 4, strides=4), (8, 8, 3), 2 * 2 * 6 * 4 * 4 * 3),
    (keras.layers.DepthwiseConv2D(3, padding="same"), (8, 8, 4), 8 * 8 * 4 * 3 * 3),
    (keras.layers.Conv3D(2, 2), (4, 4, 4, 3), 3**3 * 2 * 2**3 * 3),
    (keras.layers.EinsumDense("abc,cde->abde", (3, 2, 4)), (3, 5), 3 * 5 * 2 * 4),
    (Einsum("bxyc,xc->bxy"), (2, 3, 5), 2 * 3 * 5),
    (Einsum("...c,xc->...x"), (2, 3, 5), 2 * 3 * 5 * 2),
    (keras.layers.MaxPooling2D(), (8, 8, 4), 0),
]


@pytest.mark.parametrize(("layer", "shape", "macs"), LAYERS)
def test_multiply_adds_of_layers(layer, shape, macs):
    inputs = keras.Input(shape)
    assert count_macs(keras.Model(inputs, layer(inputs))) == macs


def test_products_of_two_activations_count():
    query, key = keras.Input((3, 5)), keras.Input((4, 5))
    scores = keras.ops.matmul(query, keras.ops.transpose(key, (0, 2, 1)))
    assert count_macs(keras.Model([query, key], scores)) == 3 * 4 * 5


def test_open_shapes_and_loops_are_refused():
    sequence = keras.Input((None, 5))
    with pytest.raises(ValueError, match="only the batch may be open"):
        count_macs(keras.Model(sequence, keras.layers.Dense(3)(sequence)))
    sequence = keras.Input((6, 5))
    with pytest.raises(ValueError, match=r"While .*without loops"):
        count_macs(keras.Model(sequence, keras.layers.SimpleRNN(3)(sequence)))
