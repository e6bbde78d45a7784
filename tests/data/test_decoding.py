"""Decoding of real photographs in all formats and EXIF orientations, whole and as random crops."""

import io

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageOps

from keras_nest.data.crops import decode_random_crop, random_resized_crop
from keras_nest.data.decoding import decode_upright, turn_upright
from keras_nest.data.sources.base import Example, decode
from tests.data.photographs import encoded, full_size, small

ORIENTATIONS = range(1, 9)


def pillow(file):
    """Pixels as Pillow reads them, turned upright."""
    return np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(file))).convert("RGB"))


def jpeg_upright(file, orientation):
    """Pixels of a JPEG file as TensorFlow decodes them, turned by Pillow; decoders of JPEG differ."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = Image.fromarray(tf.io.decode_jpeg(file, channels=3).numpy())
    stored.info["exif"] = exif.tobytes()
    return np.asarray(ImageOps.exif_transpose(stored))


class TestFormats:
    @pytest.mark.parametrize("mode", ["RGB", "L", "1", "P", "RGBA", "LA"])
    def test_png(self, mode):
        file = encoded(small("logo" if mode.endswith("A") else "coffee").convert(mode))
        np.testing.assert_array_equal(decode_upright(file, 1), pillow(file))

    @pytest.mark.parametrize("format", ["GIF", "BMP"])
    @pytest.mark.parametrize("mode", ["RGB", "L"])
    def test_gif_and_bmp(self, format, mode):
        file = encoded(small("chelsea").convert(mode), format)
        np.testing.assert_array_equal(decode_upright(file, 1), pillow(file))

    def test_16_bits(self):
        gray = np.asarray(small("brick")).astype(np.uint16) * 256 + 255
        pixels = decode_upright(encoded(Image.fromarray(gray)), 1)
        np.testing.assert_array_equal(pixels, np.repeat(gray[..., None] >> 8, 3, -1))

    @pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
    def test_jpeg(self, mode):
        original = small("rocket")
        file = encoded(original.convert(mode), "JPEG", quality=95)
        pixels = decode_upright(file, 1)
        np.testing.assert_array_equal(pixels, tf.io.decode_jpeg(file, channels=3))
        # Another decoder and other rounding of colors, but the same picture.
        assert np.abs(pillow(file) - pixels.numpy().astype(int)).mean() < 3

    def test_progressive_jpeg_at_full_size(self):
        file = encoded(full_size("astronaut"), "JPEG", progressive=True)
        pixels = decode_upright(file, 1)
        assert pixels.shape == (512, 512, 3)
        assert np.abs(pillow(file) - pixels.numpy().astype(int)).mean() < 1.5

    def test_first_frame_of_an_animation(self):
        frames = [small("china"), small("flower")]
        file = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
        np.testing.assert_array_equal(decode_upright(file, 1), pillow(file))

    @pytest.mark.parametrize("format", ["PNG", "JPEG", "BMP", "GIF"])
    def test_one_pixel(self, format):
        pixels = decode_upright(encoded(Image.new("RGB", (1, 1), (40, 40, 40)), format), 6)
        np.testing.assert_array_equal(pixels, [[[40, 40, 40]]])


class TestExample:
    def test_pixels_stay_as_they_are(self):
        pixels = np.asarray(small("coffee"))
        np.testing.assert_array_equal(decode(Example(tf.constant(pixels), tf.constant(0), tf.constant(6))), pixels)

    def test_formats_and_orientations_mixed_in_a_data_set(self):
        orientations = [*ORIENTATIONS] * 2
        files = [encoded(small("china"), "PNG" if n < 8 else "JPEG", o) for n, o in enumerate(orientations)]
        examples = tf.data.Dataset.from_tensor_slices(Example(files, [0] * 16, orientations))
        decoded = examples.map(decode, num_parallel_calls=2)
        assert decoded.element_spec == tf.TensorSpec([None, None, 3], tf.uint8)
        for n, pixels in enumerate(decoded):
            expected = pillow(files[n]) if n < 8 else jpeg_upright(files[n], orientations[n])
            np.testing.assert_array_equal(pixels, expected)


class TestOrientation:
    @pytest.mark.parametrize("orientation", ORIENTATIONS)
    def test_png(self, orientation):
        file = encoded(small("rocket"), "PNG", orientation)
        np.testing.assert_array_equal(decode_upright(file, orientation), pillow(file))

    @pytest.mark.parametrize("orientation", ORIENTATIONS)
    def test_jpeg(self, orientation):
        file = encoded(small("flower"), "JPEG", orientation)
        np.testing.assert_array_equal(decode_upright(file, orientation), jpeg_upright(file, orientation))

    def test_the_eight_differ(self):
        pixels = tf.constant(np.asarray(small("coffee", (20, 20))))
        assert len({turn_upright(pixels, o).numpy().tobytes() for o in ORIENTATIONS}) == 8

    @pytest.mark.parametrize("orientation", [0, 9, -1])
    def test_other_numbers_count_as_upright(self, orientation):
        pixels = np.asarray(small("coffee"))
        np.testing.assert_array_equal(turn_upright(pixels, orientation), pixels)


class TestRandomCropOfTurnedImages:
    KEY = tf.constant([5, 11])

    @pytest.mark.parametrize("orientation", ORIENTATIONS)
    @pytest.mark.parametrize("format", ["PNG", "JPEG"])
    def test_as_if_turned_first(self, format, orientation):
        file = encoded(small("astronaut", (64, 40)), format)
        upright = pillow(file) if format == "PNG" else tf.io.decode_jpeg(file).numpy()
        expected = random_resized_crop(turn_upright(upright, orientation), self.KEY, 24).numpy()
        cropped = decode_random_crop(file, self.KEY, 24, orientation).numpy()
        if format == "JPEG" and orientation == 1:
            # Only the box is decoded, where colors along its edges differ.
            assert np.mean(np.abs(cropped - expected) > 2e-3) < 0.05
        else:
            np.testing.assert_array_equal(cropped, expected)

    def test_orientation_as_a_tensor(self):
        file = encoded(small("astronaut", (64, 40)), "JPEG")
        orientations = tf.data.Dataset.range(1, 9, output_type=tf.int32)
        crops = orientations.map(lambda o: decode_random_crop(file, self.KEY, (16, 24), o), num_parallel_calls=2)
        for orientation, crop in zip(ORIENTATIONS, crops, strict=True):
            np.testing.assert_array_equal(crop, decode_random_crop(file, self.KEY, (16, 24), orientation))

    @pytest.mark.parametrize("mode", ["L", "CMYK"])
    def test_upright_jpeg_of_other_color_models(self, mode):
        file = encoded(small("coffee").convert(mode), "JPEG")
        expected = random_resized_crop(tf.io.decode_jpeg(file, channels=3), self.KEY, 16)
        assert np.mean(np.abs(decode_random_crop(file, self.KEY, 16) - expected) > 2e-3) < 0.05
