"""What the pictures of a run show."""

import logging
import sys

import numpy as np
import pytest
from matplotlib import colormaps, image
from matplotlib.figure import Figure

from keras_nest.training import pictures

ROWS = [
    {"step": 5, "epoch": 0.5, "loss": 2.0, "accuracy": 0.25},
    {"step": 10, "epoch": 1.0, "loss": 1.0, "accuracy": 0.5, "eval_loss": 0.8, "eval_accuracy": 0.6},
    {"step": 20, "epoch": 2.0, "loss": 0.5, "accuracy": 0.75, "eval_loss": 0.1234, "eval_accuracy": 0.98765},
]
COUNTS = np.array([[8, 2, 0], [0, 0, 0], [1, 0, 3]])


@pytest.fixture
def curves():
    axes = Figure().subplots(1, 2)
    pictures.draw_curves(axes, ROWS)
    return axes


def line(axis, label):
    (found,) = (line for line in axis.lines if line.get_label() == label)
    return [tuple(point) for point in found.get_xydata()]


def test_curves(curves):
    loss, accuracy = curves
    assert line(loss, "training (augmented)") == [(0.5, 2.0), (1, 1), (2, 0.5)]
    assert line(loss, "test") == [(1, 0.8), (2, 0.1234)]
    assert line(accuracy, "training (augmented)") == [(0.5, 25), (1, 50), (2, 75)]
    assert line(accuracy, "test") == [(1, 60), (2, pytest.approx(98.765))]
    assert (loss.get_yscale(), accuracy.get_yscale()) == ("log", "linear")


def test_words_beside_the_curves(curves):
    loss, accuracy = curves
    assert loss.get_title() == "loss (test, at the end: 0.123)"
    assert accuracy.get_title() == "accuracy in % (test, at the end: 98.77)"
    assert [text.get_text() for text in loss.get_legend().get_texts()] == ["training (augmented)", "test"]
    assert loss.get_xlabel() == accuracy.get_xlabel() == "epoch"


def test_a_single_row_is_a_point():
    axes = Figure().subplots(1, 2)
    pictures.draw_curves(axes, ROWS[-1:])
    assert all(line.get_marker() == "o" for axis in axes for line in axis.lines)


def test_confusion():
    axis = Figure().subplots()
    pictures.draw_confusion(axis, COUNTS, ("cat", "cow", "dog"))
    np.testing.assert_allclose(axis.images[0].get_array(), [[0.8, 0.2, 0], [0, 0, 0], [0.25, 0, 0.75]])
    cells = {tuple(map(int, text.get_position())): text.get_text() for text in axis.texts}
    assert cells == {(0, 0): "8", (1, 0): "2", (0, 2): "1", (2, 2): "3"}, "column, row: true ones downwards"
    assert axis.get_title() == "11 of 14 right (78.57%)"
    assert (axis.get_xlabel(), axis.get_ylabel()) == ("predicted", "true")
    for ticks in (axis.get_xticklabels(), axis.get_yticklabels()):
        assert [tick.get_text() for tick in ticks] == ["cat", "cow", "dog"]


def test_names_as_people_give_them(tmp_path):
    """Long ones are cut, and take no place from the cells; dollars are no formula."""
    names = ("$x_1$ and $", "a name that is longer than anybody reads it", "tab\there")
    axis = Figure().subplots()
    pictures.draw_confusion(axis, COUNTS, names)
    assert [tick.get_text() for tick in axis.get_yticklabels()] == [names[0], f"{names[1][:27]}…", r"tab\there"]
    pictures.write_confusion(tmp_path / "long.png", COUNTS, names)
    pixels = image.imread(tmp_path / "long.png")
    blue = np.flatnonzero((pixels[..., 2] - pixels[..., 0] > 0.1).any(axis=0))
    assert np.ptp(blue) > 100


def test_counts_of_many_classes_are_colors_only():
    axis = Figure().subplots()
    pictures.draw_confusion(axis, np.eye(21, dtype=int), [str(n) for n in range(21)])
    assert not axis.texts
    assert len(axis.get_yticklabels()) == 21


def test_no_images_at_all():
    axis = Figure().subplots()
    pictures.draw_confusion(axis, np.zeros((2, 2), int), ("a", "b"))
    assert axis.get_title() == "0 of 0 right (0.00%)"


def test_files(tmp_path):
    pictures.write_curves(tmp_path / "curves.png", ROWS)
    curves = image.imread(tmp_path / "curves.png")
    assert curves.shape[:2] == (432, 1080)
    pictures.write_confusion(tmp_path / "confusion.png", COUNTS, ("cat", "cow", "dog"))
    pixels = image.imread(tmp_path / "confusion.png")[..., :3]
    # The darkest cell of the matrix is there in its color.
    darkest = np.array(colormaps["Blues"](0.8)[:3])
    assert np.mean(np.abs(pixels - darkest).max(-1) < 0.01) > 0.03
    assert sorted(path.name for path in tmp_path.iterdir()) == ["confusion.png", "curves.png"]


def test_without_matplotlib_pictures_are_left_out(tmp_path, monkeypatch, caplog):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with caplog.at_level(logging.WARNING):
        pictures.write_curves(tmp_path / "curves.png", ROWS)
        pictures.write_confusion(tmp_path / "confusion.png", COUNTS, ("cat", "cow", "dog"))
    assert "curves.png is left out. Pictures are drawn with matplotlib, which is not installed" in caplog.text
    assert "confusion.png is left out" in caplog.text
    assert not list(tmp_path.iterdir())
