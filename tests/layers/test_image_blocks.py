"""Cutting maps into blocks and back, against one plain 6-D reshape."""

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_nest.layers import BlockImages, UnblockImages
from keras_nest.layers.image_blocks import block_images, unblock_images

PROPERTY = settings(max_examples=40, deadline=None, derandomize=True)
SIZES = st.tuples(st.integers(1, 4), st.integers(1, 4))


def plain_blocks(images, grid):
    batch, height, width, channels = images.shape
    (rows, columns), (block_h, block_w) = grid, (height // grid[0], width // grid[1])
    x = images.reshape(batch, rows, block_h, columns, block_w, channels).transpose(0, 1, 3, 2, 4, 5)
    return x.reshape(batch, rows * columns, block_h * block_w, channels)


def numbered_images(batch, grid, block, channels):
    """Images (B, H, W, C) whose values are all different."""
    shape = (batch, grid[0] * block[0], grid[1] * block[1], channels)
    return np.arange(np.prod(shape), dtype=np.float32).reshape(shape)


@PROPERTY
@given(st.integers(1, 3), SIZES, SIZES, st.integers(1, 3))
def test_blocks_are_those_of_plain_numpy_and_go_back(batch, grid, block, channels):
    images = numbered_images(batch, grid, block, channels)
    blocks = np.asarray(block_images(images, grid))
    np.testing.assert_array_equal(blocks, plain_blocks(images, grid))
    np.testing.assert_array_equal(unblock_images(blocks, grid, block), images)


@pytest.mark.parametrize(("grid", "block"), [((2, 2), (3, 3)), ((2, 3), (4, 1)), ((1, 1), (2, 5)), ((4, 1), (1, 2))])
def test_layers(grid, block):
    images = numbered_images(2, grid, block, 3)
    cut, join = BlockImages(grid), UnblockImages(grid, block)
    blocks = cut(images)
    np.testing.assert_array_equal(blocks, plain_blocks(images, grid))
    np.testing.assert_array_equal(join(blocks), images)
    assert cut.compute_output_shape(images.shape) == tuple(blocks.shape)
    assert join.compute_output_shape(blocks.shape) == images.shape
    symbolic = keras.Input(images.shape[1:])
    assert tuple(cut(symbolic).shape) == (None, *blocks.shape[1:])
    assert tuple(join(cut(symbolic)).shape) == (None, *images.shape[1:])


def test_layers_survive_serialization():
    for layer in (BlockImages((2, 3)), UnblockImages((2, 3), (4, 5))):
        copy = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
        assert type(copy) is type(layer)
        assert copy.get_config() == layer.get_config()
