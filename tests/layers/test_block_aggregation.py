"""Pooling between levels."""

import keras
import numpy as np
import pytest

from keras_nest.layers import ConvPool
from keras_nest.layers.block_aggregation import max_pool
from keras_nest.layers.image_blocks import block_images


def plain_max_pool(x, size=3, stride=2):
    """SAME padding as TensorFlow defines it, with minus infinity."""
    for axis in (1, 2):
        side = x.shape[axis]
        total = max((-(-side // stride) - 1) * stride + size - side, 0)
        pads = [(0, 0)] * 4
        pads[axis] = (total // 2, total - total // 2)
        x = np.pad(x, pads, constant_values=-np.inf)
    windows = np.lib.stride_tricks.sliding_window_view(x, (size, size), axis=(1, 2))[:, ::stride, ::stride]
    return windows.max((-2, -1))


@pytest.mark.parametrize(("height", "width"), [(4, 6), (2, 2), (5, 7), (8, 3), (1, 4)])
def test_max_pool_pads_like_same_with_minus_infinity(height, width):
    x = np.random.default_rng(0).random((2, height, width, 3), np.float32) - 5  # a zero from padding would win
    np.testing.assert_array_equal(max_pool(x), plain_max_pool(x))


def test_max_pool_of_even_sides_starts_at_the_first_pixel():
    x = np.zeros((1, 4, 4, 1), np.float32)
    x[0, 0, 0] = 1
    x[0, 3, 3] = 2
    np.testing.assert_array_equal(np.asarray(max_pool(x))[0, ..., 0], [[1, 0], [0, 2]])


class TestConvPool:
    @pytest.mark.parametrize(("grid", "size"), [((2, 2), (8, 8)), ((1, 1), (4, 6)), ((2, 3), (8, 18))])
    def test_output_shape(self, grid, size):
        layer = ConvPool(5, grid)
        blocks, tokens = grid[0] * grid[1], size[0] * size[1] // 4 // (grid[0] * grid[1])
        assert tuple(layer(np.ones((2, *size, 3), np.float32)).shape) == (2, blocks, tokens, 5)
        assert layer.compute_output_shape((None, *size, 3)) == (None, blocks, tokens, 5)
        assert tuple(layer(keras.Input((*size, 3))).shape) == (None, blocks, tokens, 5)

    def test_is_convolution_norm_and_pool(self):
        rng = np.random.default_rng(0)
        x = rng.standard_normal((2, 8, 12, 3), np.float32)
        layer = ConvPool(6, (2, 3))
        layer.build(x.shape)
        weights = [rng.standard_normal(weight.shape, np.float32) for weight in layer.weights]
        layer.set_weights(weights)
        kernel, bias, gamma, beta = weights
        padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
        windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(1, 2))
        y = np.einsum("bhwcij,ijco->bhwo", windows, kernel) + bias
        y = (y - y.mean(-1, keepdims=True)) / np.sqrt(y.var(-1, keepdims=True) + 1e-6) * gamma + beta
        np.testing.assert_allclose(layer(x), block_images(plain_max_pool(y), (2, 3)), atol=1e-4)

    def test_variables_are_those_of_the_checkpoint(self):
        layer = ConvPool(6, (1, 1), name="ConvPool_0")
        layer.build((None, 4, 4, 3))
        paths = ["Conv_0/kernel", "Conv_0/bias", "LayerNorm_0/gamma", "LayerNorm_0/beta"]
        assert [weight.path for weight in layer.weights] == [f"ConvPool_0/{path}" for path in paths]
