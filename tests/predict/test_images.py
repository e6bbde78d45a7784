"""Which files a user means, and their pixels."""

import numpy as np
import pytest

from keras_nest.predict import find_images, read_image
from tests.data import photographs


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("images")
    for name in ("b.png", "a.JPG", "deep/er/c.bmp", "notes.txt", ".hidden.png"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
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
