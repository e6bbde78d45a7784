"""Images that are converted once: the same pixels, complete or absent, within limits."""

import shutil

import numpy as np
import pytest

from keras_nest.data import Host, converted, open_source
from keras_nest.data.converted import Converted
from keras_nest.data.image_files import decodable
from keras_nest.data.sources.base import decode
from keras_nest.predict import read_image
from tests.data.photographs import encoded, small
from tests.data.test_transparency import ALPHA

HEIC, WEBP = (encoded(small("chelsea", (64, 48)), kind) for kind in ("HEIF", "WEBP"))


@pytest.fixture
def calls(monkeypatch):
    """What Pillow was asked to read."""
    found = []
    monkeypatch.setattr(converted, "decodable", lambda content: found.append(content) or decodable(content))
    return found


def copies(folder):
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def test_what_was_converted_is_read_by_whoever_comes(tmp_path, calls):
    folder = tmp_path / "a/converted"
    for _ in range(2):
        convert = Converted(folder)
        for content in (HEIC, WEBP, HEIC):
            assert convert(content) == decodable(content)
    assert calls == [HEIC, WEBP]
    assert len(copies(folder)) == 2


def test_another_content_is_another_copy(tmp_path):
    convert = Converted(tmp_path)
    changed = encoded(small("chelsea", (64, 48)).rotate(180), "HEIF")
    assert convert(HEIC) != convert(changed) == decodable(changed)


def test_what_is_broken_is_said_and_not_kept(tmp_path):
    with pytest.raises(ValueError, match="cannot be read as an image"):
        Converted(tmp_path)(HEIC[:300])
    assert not copies(tmp_path)


def test_limits(tmp_path, monkeypatch):
    """Nothing beyond the room, nothing that is as large as its copy, nothing once the folder is gone."""
    size = len(decodable(HEIC))
    monkeypatch.setattr(converted, "MOST_BYTES", size + 100)
    convert = Converted(tmp_path / "one")
    assert (convert(HEIC), convert(WEBP)) == (decodable(HEIC), decodable(WEBP))
    assert len(copies(tmp_path / "one")) == 1
    assert Converted(tmp_path / "one")(WEBP) == decodable(WEBP)
    assert len(copies(tmp_path / "one")) == 1
    monkeypatch.undo()
    Converted(tmp_path / "raw")(encoded(small("coffee"), "TIFF"))
    assert not copies(tmp_path / "raw")
    convert = Converted(tmp_path / "gone")
    convert(HEIC)
    shutil.rmtree(tmp_path / "gone")
    assert convert(WEBP) == decodable(WEBP)
    assert not (tmp_path / "gone").exists()


def test_where_nothing_can_be_written(tmp_path):
    (tmp_path / "file").touch()
    assert Converted(tmp_path / "file/converted")(HEIC) == decodable(HEIC)


def test_a_folder_of_images(tmp_path, calls):
    files = {
        "a.heic": HEIC,
        "b.webp": WEBP,
        "c.jpg": encoded(small("coffee"), "JPEG"),
        "d.webp": encoded(ALPHA, "WEBP"),
    }
    for part in ("train", "test"):
        (tmp_path / part / "a").mkdir(parents=True)
        for name, content in files.items():
            (tmp_path / part / "a" / name).write_bytes(content)
    expected = [read_image(tmp_path / "train/a" / name) for name in files]
    for _ in range(2):
        source = open_source(tmp_path, converted=tmp_path / "converted")
        for examples in (source.train, source.test):
            for pixels, image in zip(examples.in_order(Host()).map(decode), expected, strict=True):
                np.testing.assert_array_equal(pixels, image)
    assert len(calls) == len(copies(tmp_path / "converted")) == 3
