"""Which files a user means, and their pixels."""

import io
import os

import numpy as np
import pytest
from PIL import Image

from keras_nest.predict import find_images, read_image
from tests.data import photographs


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("images")
    for name in ("b.png", "a.JPG", "deep/er/c.bmp", "notes.txt", ".hidden.png"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


@pytest.fixture(scope="module")
def messy(tmp_path_factory):
    """What lies in folders as people have them."""
    root = tmp_path_factory.mktemp("messy")
    for name in (
        "b.png",
        "photo[1].jpg",
        "trip[1]/a.jpg",
        ".hidden/a.png",
        "@eaDir/b.png",
        "__MACOSX/c.jpg",
        "notes.txt",
    ):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    for name, target in (("gone.png", "nowhere"), ("loop.png", "loop.png"), ("self", ".")):
        (root / name).symlink_to(target)
    return root


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["."], ["a.JPG", "b.png", "deep/er/c.bmp"]),
        (["b.png", "a.JPG"], ["b.png", "a.JPG"]),
        (["*.png", "deep"], ["b.png", "deep/er/c.bmp"]),
        (["**/*.bmp"], ["deep/er/c.bmp"]),
        (["b.png", "."], ["b.png", "a.JPG", "deep/er/c.bmp"]),
        (["notes.txt"], ["notes.txt"]),
    ],
)
def test_found(folder, monkeypatch, names, expected):
    monkeypatch.chdir(folder)
    assert [str(path) for path in find_images(names)] == expected


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["b.png", "./b.png", "trip[1]/../b.png"], ["b.png"]),
        (["photo[1].jpg", "trip[1]/*.jpg"], ["photo[1].jpg", "trip[1]/a.jpg"]),
        ([".hidden"], [".hidden/a.png"]),
        (["@eaDir/*"], ["@eaDir/b.png"]),
        (["[!s]*/*"], ["trip[1]/a.jpg"]),
        (["gone.png", "loop.png"], ["gone.png", "loop.png"]),
        (["."], ["b.png", "gone.png", "loop.png", "photo[1].jpg", "trip[1]/a.jpg"]),
    ],
)
def test_found_in_a_mess(messy, monkeypatch, names, expected):
    monkeypatch.chdir(messy)
    assert [str(path) for path in find_images(names)] == expected


def test_what_is_left_out_is_counted(messy, monkeypatch, caplog):
    monkeypatch.chdir(messy)
    find_images(["."])
    find_images(["*.png"])
    (record,) = caplog.records
    assert record.getMessage().startswith("Left out of ., where images end in .jpg, ")
    assert record.getMessage().endswith(": 1 .txt, 1 folder.")


@pytest.mark.parametrize("name", ["c.png", "*.gif", "empty"])
def test_nothing_there(folder, monkeypatch, name):
    monkeypatch.chdir(folder)
    (folder / "empty").mkdir(exist_ok=True)
    with pytest.raises(FileNotFoundError, match=r"There is no image .*; it must be a file, or a folder or glob with"):
        find_images(["b.png", name])


@pytest.mark.parametrize("orientation", [None, 3, 6])
def test_upright(tmp_path, orientation):
    picture = photographs.small("chelsea")
    (tmp_path / "cat.png").write_bytes(photographs.encoded(picture, orientation=orientation))
    turns = {None: 0, 3: 2, 6: 3}[orientation]
    np.testing.assert_array_equal(read_image(tmp_path / "cat.png"), np.rot90(np.asarray(picture), turns))


@pytest.mark.parametrize("content", [b"", b"no image", photographs.encoded(photographs.small("chelsea"))[:500]])
def test_broken(tmp_path, content):
    (tmp_path / "broken.png").write_bytes(content)
    with pytest.raises(ValueError, match=r"broken\.png cannot be read as an image; it must be a complete JPEG, PNG"):
        read_image(tmp_path / "broken.png")


@pytest.mark.parametrize("format", ["PNG", "TIFF"])
def test_no_memory_for_an_image_is_not_said_to_be_its_fault(tmp_path, monkeypatch, format):
    photographs.small("chelsea").save(tmp_path / "cat", format)

    def fail(*_):
        raise MemoryError

    monkeypatch.setattr("keras_nest.predict.images.decode_upright", fail)
    monkeypatch.setattr("keras_nest.data.image_files._as_bmp", fail)
    with pytest.raises(ValueError, match=r"cat takes more memory than there is\."):
        read_image(tmp_path / "cat")


@pytest.mark.parametrize("format", ["TIFF", "WEBP", "BMP", "GIF"])
def test_formats_are_known_by_content(tmp_path, format):
    content = photographs.encoded(photographs.small("chelsea").quantize(16).convert("RGB"), format)
    (tmp_path / "cat.jpg").write_bytes(content)
    np.testing.assert_array_equal(read_image(tmp_path / "cat.jpg"), Image.open(io.BytesIO(content)).convert("RGB"))


def test_too_many_pixels(tmp_path):
    header = photographs.encoded(photographs.small("chelsea"))
    (tmp_path / "bomb.png").write_bytes(header[:16] + 2 * (60_000).to_bytes(4, "big") + header[24:])
    with pytest.raises(ValueError, match=r"bomb\.png has 60000 x 60000 pixels; an image may have 89478485 in all\.$"):
        read_image(tmp_path / "bomb.png")


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")
    with pytest.raises(ValueError, match=r"pipe\.jpg is a pipe or a device; it must be a file"):
        read_image(tmp_path / "pipe.jpg")
