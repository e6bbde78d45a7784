"""Random shifts: what they move, how far, and that the key alone decides."""

import numpy as np
import pytest
import tensorflow as tf

from keras_nest.data import create_augmentation, random_shift


def shifted(image, key, max_shift=4):
    return random_shift(tf.constant(image), tf.constant(key, tf.int64), max_shift).numpy()


@pytest.fixture
def dot():
    image = np.zeros((32, 32, 3), np.uint8)
    image[16, 16] = (10, 20, 30)
    return image


def test_moves_the_whole_image_by_one_offset(dot):
    image = np.random.default_rng(0).integers(1, 255, (32, 32, 3)).astype(np.uint8)
    key = (3, 8)
    row, column = (int(where[0]) - 16 for where in np.nonzero(shifted(dot, key)[..., 0]))
    assert (row, column) != (0, 0)
    expected = np.zeros_like(image)
    target = tuple(slice(max(shift, 0), 32 + min(shift, 0)) for shift in (row, column))
    source = tuple(slice(max(-shift, 0), 32 + min(-shift, 0)) for shift in (row, column))
    expected[target] = image[source]
    np.testing.assert_array_equal(shifted(image, key), expected)


def test_every_offset_is_drawn_about_equally_often(dot):
    found = np.array([np.argwhere(shifted(dot, (0, n))[..., 0])[0] - 16 for n in range(600)])
    for axis in (0, 1):
        counts = np.bincount(found[:, axis] + 4, minlength=9)
        # Nine values in 600 draws: 67 each, deviation 7.7.
        assert counts.min() > 67 - 5 * 7.7
        assert counts.max() < 67 + 5 * 7.7
    assert abs(np.corrcoef(found.T)[0, 1]) < 0.2


def test_the_key_decides(dot):
    np.testing.assert_array_equal(shifted(dot, (1, 2)), shifted(dot, (1, 2)))
    assert any(not np.array_equal(shifted(dot, (1, 2)), shifted(dot, (1, n))) for n in range(3, 8))
    assert any(not np.array_equal(shifted(dot, (1, 2)), shifted(dot, (n, 2))) for n in range(2, 8))


def test_no_shift_changes_nothing(dot):
    np.testing.assert_array_equal(shifted(dot, (1, 2), max_shift=0), dot)


@pytest.mark.parametrize("dtype", [tf.uint8, tf.float32])
def test_keeps_dtype_and_static_shape(dtype):
    graph = tf.function(lambda x: random_shift(x, tf.constant([1, 2], tf.int64), 4))
    result = graph.get_concrete_function(tf.TensorSpec((20, 24, 1), dtype)).structured_outputs
    assert (result.dtype, result.shape) == (dtype, (20, 24, 1))


def test_configuration(dot):
    key = tf.constant((3, 8), tf.int64)
    np.testing.assert_array_equal(
        create_augmentation({"type": "shift", "max_shift": 4})(dot, key), shifted(dot, (3, 8))
    )
    np.testing.assert_array_equal(create_augmentation({"type": "none"})(dot, key), dot)
    with pytest.raises(ValueError, match=r"augment.type is 'shfit'; it must be 'none' or 'shift'"):
        create_augmentation({"type": "shfit"})
    with pytest.raises(ValueError, match=r"augment.max_shift is missing"):
        create_augmentation({"type": "shift"})
    with pytest.raises(ValueError, match=r"augment.max_shift is -1"):
        create_augmentation({"type": "shift", "max_shift": -1})
