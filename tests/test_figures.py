"""Pictures: a file that is complete or absent, and what is said before the work."""

import sys

import pytest
from PIL import Image

from keras_nest.figures import new_figure, picture_file


def test_written_at_the_end(tmp_path):
    figure = new_figure(3, 2)
    figure.suptitle("猫")
    with picture_file(tmp_path / "new" / "out.PNG") as partial:
        figure.savefig(partial)
        assert not (tmp_path / "new" / "out.PNG").exists()
    with Image.open(tmp_path / "new" / "out.PNG") as picture:
        assert picture.size == (360, 240)


@pytest.mark.parametrize("name", ["out", "out.txt", "png", "out.png.gz"])
def test_no_picture(tmp_path, name):
    with pytest.raises(ValueError, match=rf"{name} has no suffix of a picture; .* \.pdf, .* \.png"):
        picture_file(tmp_path / name).__enter__()
    assert list(tmp_path.iterdir()) == []


def test_is_not_replaced_unasked(tmp_path):
    (tmp_path / "out.png").write_bytes(b"precious")
    with pytest.raises(FileExistsError, match="exists already"):
        picture_file(tmp_path / "out.png").__enter__()
    with picture_file(tmp_path / "out.png", overwrite=True) as partial:
        partial.write_bytes(b"new")
    assert (tmp_path / "out.png").read_bytes() == b"new"


def test_without_matplotlib(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install matplotlib$"):
        picture_file(tmp_path / "out.png").__enter__()
