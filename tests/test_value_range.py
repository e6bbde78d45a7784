"""Which range the values of images show, and which they must not have."""

import numpy as np
import pytest
import tensorflow as tf

from keras_nest.value_range import LEVELS, UNIT, check_unit, infer_scales

RAMP = np.linspace(0, 1, 48, dtype=np.float32).reshape(4, 4, 3)


def scales(*images, value_range=None):
    return [float(scale) for scale in infer_scales([tf.constant(image) for image in images], value_range)]


def test_dtype_decides_then_the_argument_then_the_values():
    levels = (255 * RAMP).astype(np.uint8)
    assert scales(levels) == scales(levels // 255) == scales(levels, value_range=UNIT) == [255]
    assert scales(RAMP) == scales(RAMP, value_range=UNIT) == [1]
    assert scales(255 * RAMP) == scales(2 * RAMP, value_range=LEVELS) == [255]


def test_resizing_may_overstep():
    assert scales(1.4 * RAMP - 0.2) == scales(1.2 * RAMP - 0.4) == [1]
    assert scales(300 * RAMP - 30) == [255]


def test_images_of_a_list_are_of_one_range():
    black, mask = np.zeros_like(RAMP), np.round(RAMP)
    assert scales(RAMP, mask, black) == [1, 1, 1]
    assert scales(255 * RAMP, mask, black) == [255, 255, 255]
    assert scales(mask, black) == [1, 1]
    assert scales((255 * RAMP).astype(np.uint8), RAMP) == [255, 1]
    with pytest.raises(ValueError, match=r"Image 1 of the list has floats in \[0, 1\] and image 0 in 0\.\.255"):
        scales(255 * RAMP, RAMP)


@pytest.mark.parametrize(
    "images", [2 * RAMP - 1, 4.7 * RAMP - 2.1, 65535 * RAMP, np.nan * RAMP, np.inf * (RAMP + 1), 255 * RAMP - 200]
)
def test_what_is_in_no_range(images):
    with pytest.raises(ValueError, match=r"values from .* to .*; floats must lie in \[0, 1\] or 0\.\.255"):
        scales(images)
    with pytest.raises(ValueError, match="in the value_range"):
        scales(images, value_range=UNIT)


def test_a_range_that_is_given_is_kept_to():
    with pytest.raises(ValueError, match=r"values from 0 to 255; floats must lie in the value_range \(0, 1\)"):
        scales(255 * RAMP, value_range=UNIT)


@pytest.mark.parametrize("jit_compile", [False, True])
def test_a_graph_lets_unit_images_through(jit_compile):
    check = tf.function(check_unit, jit_compile=jit_compile)
    np.testing.assert_array_equal(check(1.4 * RAMP - 0.2), 1.4 * RAMP - 0.2)


@pytest.mark.parametrize("images", [255 * RAMP, 2 * RAMP - 1, np.nan * RAMP, RAMP[:0]])
def test_a_graph_stops_at_others(images):
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"they must lie in \[0, 1\]|batch is empty"):
        tf.function(check_unit)(images)
