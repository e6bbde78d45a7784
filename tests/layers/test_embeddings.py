"""Patch embedding, position embedding and its resizing."""

import math

import numpy as np
import pytest

from keras_nest.layers import PatchEmbedding, PositionEmbedding
from keras_nest.layers.embeddings import source_block
from tests.golden import loading

RESIZES = loading.facts("pos_embedding_resize")["cases"]


def position_embedding(grid, block, channels):
    layer = PositionEmbedding(grid, block)
    layer.build((None, math.prod(grid), math.prod(block), channels))
    return layer


def blocks_of(maps, grid):
    """(H, W, C) -> (1, T, N, C)."""
    (rows, columns), (height, width, channels) = grid, maps.shape
    x = maps.reshape(rows, height // rows, columns, width // columns, channels).transpose(0, 2, 1, 3, 4)
    return x.reshape(1, rows * columns, -1, channels)


def plane(height, width, grid, old=None):
    """A map whose two channels grow by one a row and a column of a map of size `old`, in blocks."""
    rows, columns = old or (height, width)
    y, x = np.linspace(0, rows - 1, height), np.linspace(0, columns - 1, width)
    return blocks_of(np.stack(np.meshgrid(y, x, indexing="ij"), -1), grid)


class TestPatchEmbedding:
    def test_is_one_matrix_product_per_patch(self):
        rng = np.random.default_rng(0)
        images = rng.standard_normal((2, 6, 9, 3), np.float32)
        layer = PatchEmbedding(5, 3)
        assert layer.compute_output_shape(images.shape) == (2, 2, 3, 5)
        layer.build(images.shape)
        kernel, bias = rng.standard_normal((3, 3, 3, 5), np.float32), rng.standard_normal(5, np.float32)
        layer.set_weights([kernel, bias])
        patches = images.reshape(2, 2, 3, 3, 3, 3).transpose(0, 1, 3, 2, 4, 5).reshape(2, 2, 3, 27)
        np.testing.assert_allclose(layer(images), patches @ kernel.reshape(27, 5) + bias, atol=1e-5)


class TestPositionEmbedding:
    def test_every_token_of_every_block_has_its_own(self):
        layer = position_embedding((2, 1), (1, 3), 4)
        value = np.random.default_rng(0).standard_normal((1, 2, 3, 4), np.float32)
        layer.set_weights([value])
        x = np.ones((5, 2, 3, 4), np.float32)
        np.testing.assert_allclose(layer(x), x + value, atol=1e-6)
        assert layer.compute_output_shape(x.shape) == x.shape


class TestResize:
    @pytest.mark.parametrize("case", RESIZES, ids=lambda case: f"case{case['case']}")
    def test_blocks_are_resized_as_the_reference_does(self, case):
        stored = loading.below(loading.arrays("pos_embedding_resize"), f"case{case['case']}")
        _, blocks, _, channels = case["out_shape"]
        layer = position_embedding((math.isqrt(blocks),) * 2, (case["side"][1],) * 2, channels)
        ours = np.concatenate([layer.resize(value[None], (case["side"][0],) * 2) for value in stored["in"]])
        assert ours.dtype == np.float32
        np.testing.assert_allclose(ours, stored["out"], atol=1e-7, rtol=0)

    @pytest.mark.parametrize("method", ["block", "grid"])
    def test_same_size_changes_nothing(self, method):
        value = np.random.default_rng(0).standard_normal((1, 6, 16, 3), np.float32)
        np.testing.assert_array_equal(position_embedding((2, 3), (4, 4), 3).resize(value, (4, 4), method), value)

    @pytest.mark.parametrize("block", [(6, 6), (2, 2), (5, 8)])
    def test_grid_keeps_neighboring_blocks_continuous(self, block):
        grid = (2, 4)
        size = (grid[0] * block[0], grid[1] * block[1])
        resized = position_embedding(grid, block, 2).resize(plane(8, 16, grid), (4, 4), "grid")
        np.testing.assert_allclose(resized, plane(*size, grid, old=(8, 16)), atol=1e-12)

    def test_blocks_alone_keep_their_own_corners(self):
        grid, block = (2, 2), (5, 8)
        value = np.random.default_rng(0).standard_normal((1, 4, 16, 3))
        resized = position_embedding(grid, block, 3).resize(value, (4, 4)).reshape(4, *block, 3)
        old = value.reshape(4, 4, 4, 3)
        for row in (0, -1):
            for column in (0, -1):
                np.testing.assert_allclose(resized[:, row, column], old[:, row, column], atol=1e-12)
        # Between the corners it is a product of linear interpolations: half-way down an edge, for instance.
        np.testing.assert_allclose(resized[:, 2, 0], (old[:, 1, 0] + old[:, 2, 0]) / 2, atol=1e-12)

    @pytest.mark.parametrize("method", ["block", "grid"])
    @pytest.mark.parametrize("shape", [(1, 4, 16, 5), (1, 16, 16, 3), (2, 4, 16, 3)])
    def test_other_blocks_or_channels_are_refused(self, shape, method):
        with pytest.raises(ValueError, match="number of blocks and the channels must agree"):
            position_embedding((2, 2), (6, 6), 3).resize(np.zeros(shape), (4, 4), method)

    @pytest.mark.parametrize("method", ["block", "grid"])
    def test_rectangular_sources(self, method):
        value = plane(8, 16, (2, 2))  # blocks of 4 x 8
        resized = position_embedding((2, 2), (8, 4), 2).resize(value, (4, 8), method)
        if method == "grid":
            np.testing.assert_allclose(resized, plane(16, 8, (2, 2), old=(8, 16)), atol=1e-12)
        corners = [0, 3, 28, 31]
        np.testing.assert_allclose(resized[0, 0, corners[:1]], value[0, 0, :1], atol=1e-12)


class TestSourceBlock:
    @pytest.mark.parametrize(
        ("tokens", "block", "scale", "expected"),
        [
            (196, (24, 24), None, (14, 14)),
            (196, (7, 28), None, (7, 28)),  # as many tokens: the model's own, whatever they are
            (196, (7, 27), None, (14, 14)),
            (196, (14, 14), (0.5, 2.0), (7, 28)),
            (12, (3, 4), None, (3, 4)),  # no square: the model's own
            (12, (6, 8), (0.5, 0.5), (3, 4)),
        ],
    )
    def test_what_a_number_of_tokens_means(self, tokens, block, scale, expected):
        assert source_block(tokens, block, scale) == expected

    @pytest.mark.parametrize(
        ("scale", "sentence"),
        [
            (None, "15 tokens are not a square block.* give the image_size"),
            ((1.0, 1.0), "15 tokens are not the 4 x 4 of the checkpoint's image size"),
        ],
    )
    def test_neither_square_nor_known(self, scale, sentence):
        with pytest.raises(ValueError, match=sentence):
            source_block(15, (4, 4), scale)
