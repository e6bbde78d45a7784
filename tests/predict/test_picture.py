"""What the picture of an answer shows."""

import numpy as np
import pytest
from PIL import Image

from keras_nest.predict.picture import draw, save_picture

ANSWERS = [("owl", 0.7), ("a name that is far too long for its place", 0.2), ("costs $5 or $6", 0.1)]
IMAGE = np.random.default_rng(0).integers(0, 256, (30, 40, 3), np.uint8)


def test_content():
    left, right = draw(IMAGE, "file_$1.png", ANSWERS).axes
    np.testing.assert_array_equal(left.images[0].get_array(), IMAGE)
    assert left.get_title() == "file_$1.png"
    names = [label.get_text() for label in right.get_yticklabels()]
    assert names == ["owl", "a name that is far too long…", "costs $5 or $6"]
    assert [bar.get_width() for bar in right.patches] == pytest.approx([70, 20, 10])
    assert [text.get_text() for text in right.texts] == ["70.0 %", "20.0 %", "10.0 %"]
    assert right.yaxis_inverted(), "the best is on top"


def test_names_stay_inside(tmp_path):
    figure = draw(IMAGE, "image.png", ANSWERS)
    figure.savefig(tmp_path / "out.png")
    boxes = [label.get_window_extent() for label in figure.axes[1].get_yticklabels()]
    assert all(box.x0 > figure.axes[0].bbox.x1 for box in boxes)


def test_large_photographs_are_drawn_smaller():
    image = np.zeros((2000, 3000, 3), np.uint8)
    assert max(draw(image, "", ANSWERS).axes[0].images[0].get_array().shape) <= 512


def test_file(tmp_path):
    save_picture(tmp_path / "new" / "out.png", IMAGE, "", ANSWERS)
    with Image.open(tmp_path / "new" / "out.png") as picture:
        assert picture.size == (912, 408)
    with pytest.raises(FileExistsError, match="exists already"):
        save_picture(tmp_path / "new" / "out.png", IMAGE, "", ANSWERS)
