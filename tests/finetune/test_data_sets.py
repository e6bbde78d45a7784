"""Data sets of TFDS as class folders."""

import functools
import pathlib

import numpy as np
import pytest
from PIL import Image

from keras_nest.finetune import data_sets
from keras_nest.finetune.found import count_classes, look
from tests.data.sources import tfds_offline


@pytest.fixture
def prepared(tmp_path, monkeypatch):
    """CIFAR-10 of a few images, and where TFDS finds it."""
    images = {
        split: tfds_offline.images(count, seed) for seed, (split, count) in enumerate((("train", 20), ("test", 10)))
    }
    labeled = {split: (found, np.arange(len(found)) % 10) for split, found in images.items()}
    tfds_offline.prepare("cifar10", tmp_path / "tfds", labeled)
    monkeypatch.setenv("KERAS_NEST_CACHE", str(tmp_path / "cache"))
    for name in ("find_splits", "open_tfds"):
        given = functools.partial(getattr(data_sets, name), data_dir=str(tmp_path / "tfds"))
        monkeypatch.setattr(data_sets, name, given)
    return images


def test_parts_classes_and_pixels_are_those_of_the_data_set(prepared, monkeypatch):
    found = look("cifar10")
    assert set(count_classes(found.photos).values()) == {3}
    assert [sum(photo.place.part == part for photo in found.photos) for part in ("train", "test")] == [20, 10]
    root = pathlib.Path(found.root)
    assert (root.parent.name, root.name) == ("cifar10", "3.0.2")
    names = sorted(path.name for path in (root / "train").iterdir())
    written = {(np.asarray(Image.open(path)).tobytes(), path.parent.name) for path in root.glob("train/*/*.png")}
    # TFDS has them in an order of its own; its names of the classes are in alphabetical order.
    assert written == {(pixels.tobytes(), names[n % 10]) for n, pixels in enumerate(prepared["train"])}
    # It is written once.
    monkeypatch.setattr(data_sets, "_write", None)
    assert len(look("cifar10").photos) == 30


def test_one_sentence(prepared, monkeypatch):
    for name in ("nowhere", "my-photos", "photos/train", "my photos"):
        with pytest.raises(FileNotFoundError, match=rf"^There is no folder {name}; images must lie as"):
            look(name)
    monkeypatch.setattr(data_sets, "LARGEST", 29)
    with pytest.raises(
        ValueError, match=r"^cifar10 has 30 images, and fine-tuning on more than 29 is what `keras-nest t"
    ):
        look("cifar10")
