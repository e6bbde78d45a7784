"""The handwritten digits: what is in them, how they are split, and that the split never moves."""

import sys
import zlib

import numpy as np
import pytest
from sklearn.datasets import load_digits

from keras_nest.data.sources import digits


@pytest.fixture(scope="module")
def loaded():
    return digits.load()


def test_images_have_the_form_that_published_models_take(loaded):
    train, test, info = loaded
    assert train.images.shape == (1437, 32, 32, 3)
    assert test.images.shape == (360, 32, 32, 3)
    assert train.images.dtype == test.images.dtype == np.uint8
    assert train.labels.dtype == test.labels.dtype == np.int32
    assert (info.num_train, info.num_test, info.num_classes) == (1437, 360, 10)
    assert info.image_shape == (32, 32, 3)
    assert info.class_names == tuple("0123456789")


def test_every_scan_is_in_exactly_one_split(loaded):
    train, test, _ = loaded
    original = digits._enlarge(load_digits().images, (32, 32))
    both = np.concatenate([train.images, test.images])
    assert sorted(image.tobytes() for image in both) == sorted(image.tobytes() for image in original)


def test_split_is_stratified(loaded):
    train, test, _ = loaded
    counts = np.bincount(np.concatenate([train.labels, test.labels]))
    np.testing.assert_allclose(np.bincount(test.labels), 0.2 * counts, atol=1)


def test_split_is_the_one_that_results_were_reported_on(loaded):
    _, test, _ = loaded
    assert zlib.crc32(test.labels.astype("<i4").tobytes()) == 0x49824E20
    _, chosen = digits._split(load_digits().target)
    assert zlib.crc32(chosen.astype("<i8").tobytes()) == 0xDAD585B4


def test_split_does_not_follow_the_global_seed(loaded):
    np.random.seed(7)
    np.testing.assert_array_equal(digits.load()[1].labels, loaded[1].labels)


def test_enlarging_keeps_brightness_and_position():
    scans = np.zeros((1, 8, 8))
    scans[0, 2, 5] = 16
    image = digits._enlarge(scans, (32, 32))[0, :, :, 0].astype(float)
    assert image.max() > 200
    rows, columns = np.mgrid[:32, :32]
    center = (np.sum(rows * image) / image.sum(), np.sum(columns * image) / image.sum())
    np.testing.assert_allclose(center, (2 * 4 + 1.5, 5 * 4 + 1.5), atol=0.1)
    # The extremes of the scale stay where they are.
    assert digits._enlarge(np.full((1, 8, 8), 16), (32, 32)).min() == 255
    assert digits._enlarge(np.zeros((1, 8, 8)), (32, 32)).max() == 0


@pytest.mark.parametrize(("size", "shape"), [(48, (48, 48)), ((16, 24), (16, 24))])
def test_image_size(size, shape):
    train, _, info = digits.load(size)
    assert train.images.shape[1:3] == info.image_shape[:2] == shape


def test_missing_scikit_learn_is_told_with_the_remedy(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn", None)
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(ModuleNotFoundError, match=r"not installed: pip install scikit-learn$"):
        digits.load()
