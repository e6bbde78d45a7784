"""What is taken for an image, and what is refused in which words."""

import pathlib

import numpy as np
import pytest
import tensorflow as tf
from PIL import ExifTags, Image

from keras_nest.pixels import as_images, as_levels

PIXELS = np.random.default_rng(0).integers(0, 256, (20, 24, 3), np.uint8)
GRAY = PIXELS[..., :1]
LUMA = np.round(PIXELS @ np.float32([0.299, 0.587, 0.114])).astype(np.uint8)[..., None]
ALPHA = np.concatenate([PIXELS, 255 - GRAY], -1)
ON_WHITE = np.round(PIXELS * (1 - GRAY / 255) + GRAY)
LUMA_ON_WHITE = np.round(ON_WHITE @ np.float32([0.299, 0.587, 0.114]))[..., None]


@pytest.mark.parametrize(
    "image",
    [
        PIXELS.astype("int8") & 127,
        PIXELS.astype("uint16"),
        PIXELS.astype("int32"),
        PIXELS.astype("int64"),
        PIXELS.astype(">u2"),
        tf.constant(PIXELS),
        Image.fromarray(PIXELS),
    ],
    ids=["int8", "uint16", "int32", "int64", "big endian", "tensor", "Pillow"],
)
def test_levels_of_any_kind(image):
    expected = PIXELS & 127 if getattr(image, "dtype", None) == np.int8 else PIXELS
    found = as_images(image, 3)
    assert found.dtype == tf.uint8
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_floats_stay_as_they_are(dtype):
    floats = (PIXELS / 255).astype(dtype)
    np.testing.assert_array_equal(as_images(floats, 3), floats)


def test_true_is_white():
    np.testing.assert_array_equal(as_images(PIXELS > 99, 3), (PIXELS > 99) * 255)


@pytest.mark.parametrize(
    ("image", "channels", "expected"),
    [
        (GRAY[..., 0], 3, np.repeat(GRAY, 3, -1)),
        (GRAY, 3, np.repeat(GRAY, 3, -1)),
        (GRAY[None], 3, np.repeat(GRAY, 3, -1)[None]),
        (GRAY[..., 0], 1, GRAY),
        (np.repeat(GRAY, 3, -1), 1, GRAY),
        (np.repeat(GRAY, 3, -1) / np.float32(255), 1, GRAY / np.float32(255)),
        (PIXELS, 1, LUMA),
        (ALPHA, 3, ON_WHITE),
        (ALPHA, 1, LUMA_ON_WHITE),
        (Image.fromarray(ALPHA), 3, ON_WHITE),
        (Image.fromarray(ALPHA), 1, LUMA_ON_WHITE),
        (ALPHA.astype(np.int64), 3, ON_WHITE),
        (ALPHA, 4, ALPHA),
        (Image.fromarray(ALPHA), 4, ALPHA),
        (PIXELS[:, :1], 3, PIXELS[:, :1]),
    ],
)
def test_channels(image, channels, expected):
    np.testing.assert_allclose(as_images(image, channels), expected, atol=1e-6)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "CMYK", "YCbCr"])
def test_modes_of_pillow(mode):
    image = Image.fromarray(PIXELS).convert(mode)
    np.testing.assert_array_equal(as_images(image, 3), image.convert("RGB"))


def test_of_16_bits_the_upper_8():
    deep = GRAY[..., 0].astype(np.uint16) * 256 + 255
    np.testing.assert_array_equal(as_images(Image.fromarray(deep), 3), np.repeat(GRAY, 3, -1))


def test_an_image_of_pillow_is_turned():
    image = Image.fromarray(PIXELS)
    image.getexif()[ExifTags.Base.Orientation] = 6
    np.testing.assert_array_equal(as_images(image, 3), np.rot90(PIXELS, 3))


def test_lists():
    for images in ([PIXELS, PIXELS[:5]], (PIXELS, PIXELS[:5]), np.array([PIXELS, PIXELS[:5]], object)):
        first, second = as_images(images, 3)
        np.testing.assert_array_equal(first, PIXELS)
        np.testing.assert_array_equal(second, PIXELS[:5])


@pytest.mark.parametrize(
    ("images", "words"),
    [
        ([], "list of images is empty"),
        (PIXELS[None][:0], r"\(0, 20, 24, 3\), which holds no pixels"),
        (np.zeros((0, 0, 3), np.uint8), "holds no pixels"),
        (np.moveaxis(PIXELS, -1, 0), r"channels must come last: np\.moveaxis"),
        (np.moveaxis(PIXELS[None], -1, 1), r"channels must come last: np\.moveaxis"),
        (np.zeros((8, 20, 24), np.uint8), r"a batch of gray images must be \(B, h, w, 1\)"),
        (PIXELS[..., :2], r"it must be \(h, w, 3\) or \(B, h, w, 3\)"),
        (PIXELS[None, None], r"it must be \(h, w, 3\) or \(B, h, w, 3\)"),
        (list(PIXELS), r"a gray image as narrow as this must be \(h, w, 1\)"),
        (PIXELS.tolist(), "Image 0 is a list; it must be an array"),
        ([PIXELS[None]], r"Image 0 of the list has the shape \(1, 20, 24, 3\)"),
        (3.0, r"it must be \(h, w, 3\)"),
        (None, "The image is a NoneType"),
        ({"image": PIXELS}, "The image is a dict"),
        ("cat.jpg", r"'cat\.jpg', not pixels; keras_nest\.predict\.read_image reads a file"),
        ([pathlib.Path("cat.jpg")], r"Image 0 is 'cat\.jpg', not pixels"),
        (np.array(["cat.jpg"]), "dtype string; .*read_image reads files"),
        (PIXELS.astype(object), "an array of object"),
        (PIXELS.astype(np.complex64), "dtype complex64"),
        (PIXELS.astype(np.uint16) * 257, r"uint16 have values from 0 to 65535; .* images >> 8"),
        (PIXELS.astype(np.int32) - 1, r"int32 have values from -1 to 254; they must lie in 0\.\.255"),
    ],
)
def test_what_is_no_image(images, words):
    with pytest.raises(ValueError, match=words) as error:
        as_images(images, 3)
    assert "\n" not in str(error.value)


def test_four_channels_are_not_made_up():
    with pytest.raises(ValueError, match=r"it must be \(h, w, 4\)"):
        as_images(PIXELS, 4)


@pytest.mark.parametrize("white", [1, 255])
@pytest.mark.parametrize("value_range", [False, True])
def test_floats_on_white(white, value_range):
    floats = ALPHA * np.float32(white / 255)
    found = as_images(floats, 3, (0, white) if value_range else None)
    np.testing.assert_allclose(found * (255 / white), PIXELS * (1 - GRAY / 255) + GRAY, atol=1e-4)
    # What is too dark to show its range needs to be told it, and gets white all the same.
    if value_range:
        np.testing.assert_array_equal(as_images(np.zeros((9, 9, 4)), 3, (0, white)), np.full((9, 9, 3), white))


def test_channels_that_only_the_run_shows():
    unknown = [tf.TensorSpec([None, None, None], tf.uint8)]
    on_white = tf.function(lambda images: as_images(images, 3), unknown, autograph=False)
    for images, expected in ((ALPHA, ON_WHITE), (PIXELS, PIXELS), (GRAY, np.repeat(GRAY, 3, -1))):
        np.testing.assert_array_equal(on_white(images), expected)


def test_alpha_of_another_range_is_refused():
    floats = ALPHA.astype(np.float32)
    floats[..., 3] /= 255
    with pytest.raises(ValueError, match=r"colors up to 255 and alpha up to 1; both must be in one range"):
        as_images(floats, 3)


def test_levels_are_those_of_a_file():
    for images in ([PIXELS], PIXELS[None], [PIXELS / 255], [np.float32(PIXELS)], [Image.fromarray(PIXELS)]):
        (found,) = as_levels(images, 3)
        assert found.dtype == np.uint8
        np.testing.assert_array_equal(found, PIXELS)
    with pytest.raises(ValueError, match="a single image must be in a list"):
        as_levels(PIXELS, 3)
