"""The projection to heads, against Keras' own einsum layer."""

import keras
import numpy as np
import pytest

from keras_nest.layers import DenseGeneral
from keras_nest.layers.dense_general import project


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.mark.parametrize("use_bias", [True, False])
def test_equals_einsum_dense(rng, use_bias):
    x = rng.standard_normal((2, 5, 6), np.float32)
    layer = DenseGeneral((3, 4), use_bias=use_bias)
    stock = keras.layers.EinsumDense("abc,cde->abde", (5, 3, 4), bias_axes="de" if use_bias else None)
    layer.build(x.shape)
    stock.build(x.shape)
    weights = [rng.standard_normal(weight.shape, np.float32) for weight in layer.weights]
    assert [weight.shape for weight in weights] == [(6, 3, 4), (3, 4)][: len(weights)]
    layer.set_weights(weights)
    stock.set_weights(weights)
    assert len(weights) == 1 + use_bias
    np.testing.assert_allclose(layer(x), np.reshape(stock(x), (2, 5, 12)), atol=1e-5)


def test_project_contracts_several_axes(rng):
    x, kernel = rng.standard_normal((2, 5, 3, 4)), rng.standard_normal((3, 4, 6))
    expected = np.einsum("bnhd,hdc->bnc", x, kernel)
    np.testing.assert_allclose(project(x.reshape(2, 5, 12), kernel, None, inputs=2), expected, atol=1e-12)


def test_output_shape():
    layer = DenseGeneral((3, 4))
    assert layer.compute_output_shape((None, 7, 5, 6)) == (None, 7, 5, 12)
    assert tuple(layer(keras.Input((7, 5, 6))).shape) == (None, 7, 5, 12)


def test_mixed_precision_keeps_the_weights():
    layer = DenseGeneral((3, 4), dtype="mixed_bfloat16")
    y = layer(np.ones((2, 6), np.float32))
    assert keras.backend.standardize_dtype(y.dtype) == "bfloat16"
    assert {weight.dtype for weight in layer.weights} == {"float32"}
