"""The handwritten digits inside scikit-learn: real images that need no download."""

from types import ModuleType

import numpy as np
import tensorflow as tf

from keras_nest.data.sources.base import DatasetInfo, IndexedExamples, Source, Split
from keras_nest.optional import import_optional
from keras_nest.types import Size, as_size

CLASS_NAMES = tuple("0123456789")
TEST_SHARE = 0.2
# The split belongs to the data: it is the same whatever the seed of a training.
_SPLIT_SEED = 0
_BRIGHTEST = 16  # the scans count the dark pixels of 4x4 cells


def load(image_size: int | Size = 32) -> tuple[Split, Split, DatasetInfo]:
    """1,797 scans of the digits 0 to 9, divided into 1,437 for training and 360 for testing.

    The scans are 8x8 pixels; they are enlarged bicubically and repeated over three channels, so that every published
    model takes them. The split is stratified and fixed.

    Source: E. Alpaydin, C. Kaynak, "Optical Recognition of Handwritten Digits", UCI 1998, as `sklearn.datasets` has it.

    Args:
        image_size: side or (height, width) of the images in pixels.

    Returns:
        train, test: uint8 images (N, H, W, 3), int32 labels (N,); and what is known about them.

    Raises:
        ModuleNotFoundError: scikit-learn is not installed.
    """
    scans, labels = _scans()
    train, test = _split(labels)
    images = _enlarge(scans, as_size(image_size))
    info = DatasetInfo("digits", CLASS_NAMES, images.shape[1:], len(train), len(test))
    return Split(images[train], labels[train]), Split(images[test], labels[test]), info


def open_digits() -> Source:
    """The digits as 32x32 pixels, as a source.

    Raises:
        ModuleNotFoundError: scikit-learn is not installed.
    """
    train, test, info = load()
    return Source(info, IndexedExamples(*train), IndexedExamples(*test))


def _scans() -> tuple[np.ndarray, np.ndarray]:
    """Scans (N, 8, 8) in 0..16 and labels (N,) int32, as stored."""
    digits = _sklearn("datasets").load_digits()
    return digits.images, digits.target.astype(np.int32)


def _split(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Indices of the training and of the test images."""
    train, test = _sklearn("model_selection").train_test_split(
        np.arange(len(labels)), test_size=TEST_SHARE, random_state=_SPLIT_SEED, stratify=labels
    )
    return np.sort(train), np.sort(test)


def _enlarge(scans: np.ndarray, size: Size) -> np.ndarray:
    """(N, 8, 8) in 0..16 -> uint8 (N, height, width, 3)."""
    smooth = tf.image.resize(scans[..., None] / _BRIGHTEST, size, tf.image.ResizeMethod.BICUBIC)
    pixels = np.rint(np.clip(smooth, 0, 1) * 255).astype(np.uint8)
    return np.repeat(pixels, 3, axis=-1)


def _sklearn(module: str) -> ModuleType:
    """A module of scikit-learn, which only this data set needs."""
    return import_optional(f"sklearn.{module}", "The digits come with scikit-learn", "scikit-learn")
