"""Pictures of samples."""

import numpy as np

from keras_nest.generative.samples import grid, with_titles


def test_titles_stand_above_their_columns():
    samples = grid(np.ones((6, 64, 64, 3), np.float32), 3)
    picture = with_titles(samples, ["cat", "", "a\nb" * 30])
    assert picture.dtype == np.uint8
    assert picture.shape == (samples.shape[0] + 16, samples.shape[1], 3)
    np.testing.assert_array_equal(picture[16:], samples)
    dark = [np.argwhere(part[:16] < 128)[:, 1] for part in np.array_split(picture, 3, axis=1)]
    assert len(dark[0]) > 0, "cat"
    assert abs(dark[0].mean() - 33) < 6, "in the middle"
    assert len(dark[1]) == 0
    assert len(dark[2]) > len(dark[0]), "cut off, on one line"
