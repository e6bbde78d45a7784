"""Encoded images become what `keras_nest.preprocessor` makes of their pixels."""

import functools

import numpy as np
import pytest
import tensorflow as tf

import keras_nest
from keras_nest.data.decoding import decode_upright
from keras_nest.data.image_files import MAX_PIXELS
from keras_nest.export import decoding
from tests.export import toys

SPECS = {
    "cropped": {"crop_ratio": 0.875},
    "bicubic": {"interpolation": "bicubic", "crop_ratio": 0.5},
    "stretched": {"stretch": True},
    "truncated": {"stretch": True, "truncate": True},
    "as Pillow": {"pillow": True, "interpolation": "bicubic", "crop_ratio": 0.9},
}


@pytest.fixture(scope="module")
def build():
    """Gives a model with a preprocessing of some kind, and its decoder as a graph runs it."""
    normalization = {"mean": [0.5, 0.4, 0.3], "std": [0.2, 0.3, 0.4], "interpolation": "bilinear"}

    @functools.cache
    def build_kind(kind):
        model = toys.build("mixer", preprocessing={**normalization, **SPECS[kind]})
        spec = tf.TensorSpec((None,), tf.string)
        return model, tf.function(decoding.image_decoder(model), input_signature=[spec], autograph=False)

    return build_kind


@pytest.fixture(scope="module")
def decode(build):
    """The decoder of one model."""
    return build("cropped")[1]


@pytest.mark.slow
@pytest.mark.parametrize("kind", SPECS)
def test_equals_the_preprocessor_on_pixels(build, kind):
    (network, decode), files = build(kind), toys.image_files()
    pixels = decode(tf.constant(files))
    decoded = [decode_upright(tf.constant(file), 1) for file in files]
    expected = keras_nest.preprocessor(network)(decoded)
    np.testing.assert_allclose(toys.normalized(network, pixels), expected, atol=1e-6)


def png(height, width):
    return tf.io.encode_png(np.zeros((height, width, 1), np.uint8)).numpy()


def with_size(height, width):
    """A small PNG file whose header tells another size."""
    small = png(4, 4)
    return small[:16] + width.to_bytes(4, "big") + height.to_bytes(4, "big") + small[24:]


JPEG = toys.encode("RGB", (40, 31), "JPEG")
KIND = "Image 1 of the batch is no complete JPEG or PNG file"


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (b"", KIND),
        (b"no image", KIND),
        (b"GIF89a" + bytes(100), KIND),
        (png(4, 4)[:30], KIND),
        (png(4, 4)[:-20], "Invalid PNG data"),
        (JPEG[:200], "Invalid JPEG data"),
        (JPEG[:-100], "Invalid JPEG data"),
        (with_size(9460, 9460), r"Image 1 of the batch has \(height, width\) \[9460 9460\]; .* 89478485 pixels"),
        (with_size(2**31 - 1, 2**31 - 1), r"has \(height, width\) \[2147483647 2147483647\]"),
    ],
    ids=["empty", "text", "gif", "half a header", "half a PNG", "JPEG's head", "half a JPEG", "large", "huge"],
)
def test_other_files_are_refused_before_they_take_memory(decode, bad, message):
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        decode(tf.constant([JPEG, bad]))
    assert decode(tf.constant([JPEG])).shape == (1, 16, 16, 3)


def test_a_strip_takes_no_more_memory_than_what_is_seen_of_it(build):
    """All of 1 x 150,000 pixels would be scaled to 18 x 2,700,000."""
    network, decode = build("cropped")
    strip = np.random.default_rng(0).integers(0, 256, (1, 150_000, 3), np.uint8)
    middle = keras_nest.preprocessor(network)(strip[:, 75_000 - 40 : 75_000 + 40])
    found = toys.normalized(network, decode(tf.constant([tf.io.encode_png(strip).numpy()])))
    np.testing.assert_allclose(found[0], middle, atol=1e-4)


def test_the_largest_image_passes_the_check(decode):
    """Its header, that is: the file is refused for what follows."""
    side = int(MAX_PIXELS**0.5)
    with pytest.raises(tf.errors.InvalidArgumentError, match="Invalid PNG"):
        decode(tf.constant([with_size(side, side)]))
    with pytest.raises(tf.errors.InvalidArgumentError, match="it may have"):
        decode(tf.constant([with_size(side + 1, side + 1)]))
