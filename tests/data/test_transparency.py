"""Transparent images lie on white, whatever kind of file they are and whichever door they come through."""

import io
import struct
import zlib

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from keras_nest.data import Host, open_source
from keras_nest.data.decoding import decode_upright
from keras_nest.data.image_files import decodable, decodable_in_graph
from keras_nest.data.inspection import inspect
from keras_nest.data.sources.base import decode
from keras_nest.data.transparency import is_transparent
from keras_nest.evaluation.images import open_images
from keras_nest.pixels import as_levels, on_white
from keras_nest.predict.images import decode_image, read_image
from tests.data.photographs import encoded, small

SIZE = (24, 16)


def transparent():
    """A photograph that fades from left to right; where nothing of it shows, it hides blue."""
    pixels = np.array(small("chelsea", SIZE).convert("RGBA"))
    pixels[..., 3] = np.linspace(-60, 300, SIZE[0]).clip(0, 255)
    pixels[pixels[..., 3] == 0] = (0, 0, 99, 0)
    return Image.fromarray(pixels)


def png(bits, color_type, row, *chunks):
    """A PNG file of one row, with chunks before the pixels; it says what Pillow cannot write."""
    count = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[color_type]
    header = struct.pack(">IIBBBBB", 8 * len(row) // (bits * count), 1, bits, color_type, 0, 0, 0)
    parts = [(b"IHDR", header), *chunks, (b"IDAT", zlib.compress(b"\0" + row)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        for kind, content in parts
    )


ALPHA = transparent()
OPAQUE, PALETTE = ALPHA.convert("RGB"), ALPHA.convert("RGB").quantize(16)
GRAY = ALPHA.convert("L")
DEEP = np.random.default_rng(0).integers(0, 2**16, 4 * 20)
FILES = {
    "rgba.png": encoded(ALPHA),
    "turned.png": encoded(ALPHA, "PNG", 6),
    "gray_alpha.png": encoded(ALPHA.convert("LA")),
    "palette.png": encoded(PALETTE, transparency=bytes(range(0, 256, 16))),
    "palette_color.png": encoded(PALETTE, transparency=3),
    "color_key.png": encoded(OPAQUE, transparency=OPAQUE.getpixel((0, 0))),
    "gray_key.png": encoded(GRAY, transparency=GRAY.getpixel((0, 0))),
    "deep.png": png(16, 6, DEEP.astype(">u2").tobytes()),
    "alpha.webp": encoded(ALPHA, "WEBP"),
    "alpha.gif": encoded(PALETTE, "GIF", transparency=3, save_all=True, append_images=[small("coffee", SIZE)]),
    "alpha.tiff": encoded(ALPHA, "TIFF"),
    "gray_alpha.tiff": encoded(ALPHA.convert("LA"), "TIFF"),
    "alpha.avif": encoded(ALPHA, "AVIF"),
    "alpha.heic": encoded(ALPHA, "HEIF"),
}


def composite(name):
    """What Pillow makes of a file on white."""
    image = Image.open(io.BytesIO(FILES[name])).convert("RGBA")
    laid = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return np.array(laid.rotate(-90, expand=True) if name == "turned.png" else laid)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("transparent")
    for part in ("train", "test"):
        (root / part / "a").mkdir(parents=True)
        for name, content in FILES.items():
            (root / part / "a" / name).write_bytes(content)
    return root


@pytest.mark.parametrize("name", FILES)
class TestFile:
    def test_as_pillow_has_it(self, name, folder):
        expected, found = composite(name), read_image(folder / "test/a" / name)
        assert (expected == 255).all(-1).any()
        assert found.dtype == np.uint8
        assert np.abs(found.astype(int) - expected).max() <= 1
        np.testing.assert_array_equal(decode_image(FILES[name], name), found)  # what the app is sent

    def test_as_an_image_of_pillow_or_an_array(self, name, folder):
        found = read_image(folder / "test/a" / name)
        with Image.open(folder / "test/a" / name) as image:
            (of_pillow,) = as_levels([image], 3)
            rgba = np.asarray(image.convert("RGBA"))
        np.testing.assert_array_equal(of_pillow, found)
        if name != "turned.png":
            for alike in (rgba, rgba / np.float32(255), np.float32(rgba), rgba.astype(int)):
                np.testing.assert_array_equal(*as_levels([alike], 3), found)


def test_training_evaluation_and_a_look_at_a_folder_see_the_same(folder):
    names = sorted(FILES)
    expected = {name: read_image(folder / "test/a" / name) for name in names}
    for name, pixels in zip(names, open_source(folder).train.in_order(Host()).map(decode), strict=True):
        np.testing.assert_array_equal(pixels, expected[name])
    for labeled in open_images(str(folder), "test").read(pytest.fail):
        np.testing.assert_array_equal(labeled.pixels, expected[labeled.name.rpartition("/")[2]])
    (seen,) = inspect([str(folder / "test/a/rgba.png")], folder)
    assert seen.thumbnail[:, 0].min() == 255


def test_within_a_graph_as_outside():
    files = tf.data.Dataset.from_tensor_slices([*FILES.values()])
    for pixels, file in zip(
        files.map(lambda file: decode_upright(decodable_in_graph(file), 1)), FILES.values(), strict=True
    ):
        np.testing.assert_array_equal(pixels, decode_upright(decodable(file), 1))


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
def test_keys_of_every_depth(bits):
    """The number that is transparent is one of as many bits as the file has; no other looks like it."""
    row, numbers = bytes(range(27, 59)), np.arange(256 // bits)
    found = decode_upright(png(bits, 0, row), 1).numpy()[0, :, 0]
    packed = np.unpackbits(np.frombuffer(row, np.uint8)).reshape(-1, bits)
    numbers = packed @ (1 << np.arange(bits)[::-1])
    key = numbers[3]
    keyed = decode_upright(png(bits, 0, row, (b"gAMA", bytes(4)), (b"tRNS", struct.pack(">H", key))), 1)
    np.testing.assert_array_equal(keyed.numpy()[0, :, 0], np.where(numbers == key, 255, found))


class TestOpaque:
    @pytest.mark.parametrize(
        ("bits", "color_type"), [(1, 0), (2, 0), (4, 0), (8, 0), (16, 0), (8, 2), (16, 2), (1, 3), (2, 3), (4, 3)]
    )
    def test_as_decoded_without_alpha(self, bits, color_type):
        row = bytes(range(48))
        palette = [(b"PLTE", bytes(range(3 << bits)))] if color_type == 3 else []
        expected = tf.io.decode_png(png(bits, color_type, row, *palette), channels=3)
        # A chunk of a length that it cannot have is passed over; one behind the pixels is none.
        for chunk in ([], [(b"tRNS", bytes(300))], [(b"tEXt", b"tRNS\0IDAT")], [(b"pHYs", bytes(9))] * 5):
            file = png(bits, color_type, row, *palette, *chunk)
            np.testing.assert_array_equal(decode_upright(file, 1), expected)

    @pytest.mark.parametrize("kind", ["JPEG", "PNG", "BMP", "GIF", "WEBP", "TIFF"])
    def test_no_kind_of_file_is_taken_for_transparent(self, kind):
        file = decodable(encoded(OPAQUE, kind))
        assert not is_transparent(file)
        expected = tf.io.decode_image(file, channels=3)
        np.testing.assert_array_equal(decode_upright(file, 1), expected)

    @pytest.mark.parametrize("end", [0, 1, 8, 20, 26, 33, 40, 41, 60])
    def test_the_beginning_of_a_file_is_none(self, end):
        assert not is_transparent(FILES["palette.png"][:end])


def test_every_level():
    colors, alpha = (x.astype(np.uint8)[..., None] for x in np.meshgrid(np.arange(256), np.arange(256)))
    found = on_white(tf.constant(colors), tf.constant(alpha))
    np.testing.assert_array_equal(found, np.rint((colors * alpha.astype(float) + 255.0 * (255.0 - alpha)) / 255))
