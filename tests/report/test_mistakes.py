"""The picture of the images that a model is most wrong and most unsure about."""

import itertools

import numpy as np
import pytest
from PIL import Image

from keras_nest.report.cards import Card
from keras_nest.report.mistakes import draw_mistakes, write_mistakes
from keras_nest.report.pictures import thumbnail

LABELS = ("cat", "$x_1^2$", "a class with a name that is longer than any cell is wide", "W" * 40, "名前")
FILES = ("cat/IMG_1.jpg", "$x/50 % $.png", "holiday photographs of 2023-07-12 at the sea, second part (17).jpeg")
SIZES = ((30, 40), (40, 30), (200, 4), (3, 90), (50, 50))


def card(number, is_right):
    label, other = (LABELS[(number + k) % len(LABELS)] for k in (0, 1))
    answers = [(label, 0.973), (other, 0.021)] if is_right else [(other, 0.973), (label, 0.021)]
    pixels = np.full((*SIZES[number % len(SIZES)], 3), 99, np.uint8)
    path = f"/photos/{FILES[number % len(FILES)]}"
    return Card(path.rpartition("/")[2], path, label, (label,), is_right, answers, thumbnail(pixels), None)


WRONG, UNSURE = [card(k, False) for k in range(9)], [card(k, True) for k in range(5)]


@pytest.mark.filterwarnings("ignore:Glyph .* missing from font")
def test_names_are_readable_and_nothing_overlaps():
    figure = draw_mistakes([("Most wrong", WRONG), ("Most unsure", UNSURE)])
    figure.canvas.draw()
    assert len(figure.axes) == 14
    texts = [text for axis in figure.axes for text in axis.texts] + figure.texts
    lines = [text.get_text() for text in texts]
    assert lines[:4] == ["IMG_1.jpg", "is cat", "taken for $x_1^2$, 97.3 %", "then cat, 2.1 %"]
    assert [text.get_color() for text in texts[2:3] + texts[-4:-3]] == ["tab:red", "tab:green"]
    shortened = next(line for line in lines if line.startswith("holiday"))
    assert "…" in shortened
    assert shortened.endswith("(17).jpeg")
    boxes = [text.get_window_extent() for text in texts]
    boxes += [axis.images[0].get_window_extent() for axis in figure.axes]
    # Letters may touch the line below them.
    for first, second in itertools.combinations(boxes, 2):
        width = min(first.x1, second.x1) - max(first.x0, second.x0)
        height = min(first.y1, second.y1) - max(first.y0, second.y0)
        assert width <= 1 or height <= 4
    for box in boxes:
        assert box.x0 >= 0
        assert box.y0 >= 0
        assert box.x1 <= figure.bbox.x1
        assert box.y1 <= figure.bbox.y1


def test_file(tmp_path):
    path = tmp_path / "mistakes.png"
    write_mistakes(path, WRONG[:1], [])
    with Image.open(path) as picture:
        assert picture.size[0] < 400
    write_mistakes(path, WRONG, UNSURE)
    with Image.open(path) as picture:
        assert picture.size[0] > 1000
    # Where nothing is wrong or unsure, there is no picture of an earlier model.
    write_mistakes(path, [], [])
    assert not path.exists()
