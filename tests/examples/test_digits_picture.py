"""Which images the picture of the demonstration shows, and what it says about them."""

import importlib
import pathlib

import numpy as np
import pytest

LABELS = np.tile(np.arange(10), 9)


@pytest.fixture
def picture(monkeypatch):
    monkeypatch.syspath_prepend(pathlib.Path(__file__).resolve().parents[2] / "examples")
    return importlib.import_module("digits_picture")


def misread(count):
    """Predictions of which the first `count` are wrong."""
    predicted = LABELS.copy()
    predicted[:count] = (predicted[:count] + 1) % 10
    return predicted


@pytest.mark.parametrize(("wrong", "shown"), [(0, 0), (2, 2), (16, 16), (50, 16)])
def test_misread_images_come_first_and_leave_room_for_others(picture, wrong, shown):
    chosen = picture.choose(LABELS, misread(wrong))
    assert len(set(chosen)) == len(chosen) == 40
    is_wrong = misread(wrong)[chosen] != LABELS[chosen]
    assert is_wrong.tolist() == [True] * shown + [False] * (40 - shown)
    # Of those read correctly every class appears, each about as often.
    assert np.ptp(np.bincount(LABELS[chosen[shown:]], minlength=10)) <= 1


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        (0, "Test images, all 90 read correctly"),
        (2, "Test images, 2 of 90 misread (all of them in red, the others are examples)"),
        (50, "Test images, 50 of 90 misread (16 of them in red, the others are examples)"),
    ],
)
def test_description(picture, wrong, sentence):
    assert picture.describe(LABELS, misread(wrong)) == sentence
