"""Where the input of a model lies in an image file."""

import numpy as np
import pytest

from keras_nest import EvalPreprocessing, specs
from keras_nest.explain.view import make_view


@pytest.mark.parametrize(
    ("spec", "extent", "box"),
    [
        # 100 x 50 becomes 64 x 32, of which the input shows the rows from 18 and the columns from 2.
        (specs.IMAGENET, (-2, 30, 46, -18), [28, 3, 72, 47]),
        (specs.STRETCHED, (0, 28, 28, 0), [0, 0, 100, 50]),
    ],
)
def test_the_input_in_pixels_of_the_file(spec, extent, box):
    view = make_view(np.zeros((100, 50, 3), np.uint8), EvalPreprocessing(28, **spec))
    assert view.extent == extent
    assert view.to_file(np.array([0, 0, 28, 28])) == box
