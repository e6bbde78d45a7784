"""Training images that are decoded and reduced once; test images are left as they are."""

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from keras_nest.data import Host, load, open_source
from keras_nest.data.sources.base import decode
from tests.data.photographs import encoded, small

WIDE, TALL, SMALL = small("chelsea", (90, 60)), small("coffee", (40, 80)), small("rocket", (20, 16))
# Class -> name of the file and its content.
FILES = {
    "a": {"wide.jpg": encoded(WIDE, "JPEG"), "small.png": encoded(SMALL, "PNG")},
    "b": {"tall.webp": encoded(TALL, "WEBP")},
}


@pytest.fixture
def photos(tmp_path):
    for split in ("train", "test"):
        for name, files in FILES.items():
            (tmp_path / "photos" / split / name).mkdir(parents=True)
            for file, content in files.items():
                (tmp_path / "photos" / split / name / file).write_bytes(content)
    return tmp_path / "photos"


def opened(photos, side):
    return open_source(photos, converted=photos.parent / "kept", cache_side=side)


def pixels(examples):
    return [decode(example).numpy() for example in examples.in_order(Host())]


def shapes(examples):
    return [image.shape[:2] for image in pixels(examples)]


def test_the_shorter_side_of_training_images(photos):
    source = opened(photos, 30)
    assert shapes(source.train) == [(16, 20), (30, 45), (60, 30)]
    assert shapes(source.test) == [(16, 20), (60, 90), (80, 40)]
    expected = np.asarray(WIDE.resize((45, 30), Image.Resampling.BICUBIC))
    assert np.abs(pixels(source.train)[1].astype(float) - expected).mean() < 4


def test_pixels_as_they_are(photos):
    source = opened(photos, 0)
    for kept, read in zip(pixels(source.train), pixels(source.test), strict=True):
        np.testing.assert_array_equal(kept, read)


def test_nothing_is_decoded_twice(photos, monkeypatch):
    source = opened(photos, 30)
    first = pixels(source.train)
    monkeypatch.setattr("keras_nest.data.sources.reduced.decode_upright", None)
    for again in (source, opened(photos, 30)):
        for one, other in zip(first, pixels(again.train), strict=True):
            np.testing.assert_array_equal(one, other)
    with pytest.raises(tf.errors.OpError, match="not callable"):
        pixels(opened(photos, 20).train)


def test_a_file_that_changes_is_read_again(photos):
    assert shapes(opened(photos, 30).train)[1] == (30, 45)
    (photos / "train/a/wide.jpg").write_bytes(encoded(TALL, "JPEG"))
    assert shapes(opened(photos, 30).train)[1] == (60, 30)


def test_images_are_turned_as_their_camera_was(photos):
    exif = Image.Exif()
    exif[0x0112] = 6
    WIDE.save(photos / "train/a/wide.jpg", exif=exif)
    source = opened(photos, 30)
    numbers = [example.orientation for example in source.train.in_order(Host())]
    assert (shapes(source.train)[1], numbers[1]) == ((45, 30), 6)


def test_the_same_batches_whether_they_are_kept_or_made(photos):
    options = {"recipe": "vit", "image_size": 16, "batch_size": 3, "cache_side": 32}
    options["converted"] = photos.parent / "kept"
    made, kept = (next(iter(load(photos, **options)[0]))[0].numpy() for _ in range(2))
    np.testing.assert_array_equal(made, kept)
    options["converted"] = photos.parent / "full" / "no room"
    (photos.parent / "full").write_text("a file, in which no folder can be made")
    np.testing.assert_array_equal(next(iter(load(photos, **options)[0]))[0].numpy(), made)


def test_what_cannot_be(photos):
    with pytest.raises(ValueError, match=r"^cache_side needs converted, the folder in which images are kept\.$"):
        open_source(photos, cache_side=3)
    with pytest.raises(ValueError, match="cache_side is -1; it must be"):
        opened(photos, -1)
    with pytest.raises(ValueError, match=r"files of their own, and those of digits are not; leave it out\.$"):
        open_source("digits", converted=photos, cache_side=64)
