"""Files that TensorFlow does not decode: what becomes of them, with the packages that read them and without."""

import io

import numpy as np
import pillow_heif
import pytest
from PIL import ExifTags, Image

from keras_nest.data import image_files
from keras_nest.data.image_files import begins_as_image, decodable, is_image
from keras_nest.predict import read_image
from tests.data.photographs import encoded, small


@pytest.fixture
def heic(tmp_path):
    """An image on its side, as telephones write them: the file says that it is to be turned."""
    image = small("rocket", (64, 48)).convert("RGB")
    image.getexif()[ExifTags.Base.Orientation] = 6
    path = tmp_path / "IMG_0001.HEIC"
    path.write_bytes(encoded(image, "HEIF", quality=95))
    return path


def test_heic_is_read_upright(heic):
    assert is_image(heic.name)
    assert begins_as_image(heic)
    expected = np.asarray(small("rocket", (64, 48)).convert("RGB").rotate(-90, expand=True)).astype(int)
    for pixels in (read_image(heic), np.asarray(Image.open(io.BytesIO(decodable(heic.read_bytes()))))):
        assert pixels.shape == (64, 48, 3)
        assert np.abs(pixels - expected).mean() < 4
    # What the library itself reads, without Pillow.
    np.testing.assert_array_equal(pixels, np.asarray(pillow_heif.read_heif(heic)))


def test_without_the_library_it_is_said_what_reads_it(heic, monkeypatch):
    monkeypatch.setattr(image_files, "_HAS_HEIC", False)
    monkeypatch.setattr(image_files, "_BY_PILLOW", ("BMP", "TIFF", "WEBP", "AVIF"))
    assert begins_as_image(heic)
    with pytest.raises(
        ValueError, match=r"^is a HEIC image, which pillow-heif reads: pip install 'keras-nest\[heic\]'"
    ):
        decodable(heic.read_bytes())


@pytest.mark.parametrize("kind", ["AVIF", "WEBP", "TIFF", "HEIF"])
def test_what_is_cut_off_is_refused(kind):
    content = encoded(small("chelsea"), kind)
    with pytest.raises(ValueError, match=r"^cannot be read as an image; it must be a complete"):
        decodable(content[: len(content) // 2])
