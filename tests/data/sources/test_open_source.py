"""Which name means which kind of source."""

import pathlib

import pytest

from keras_nest.data import open_source
from tests.data import photographs


def test_a_directory_is_a_folder_however_it_is_named(tmp_path, monkeypatch):
    photographs.write_folder(tmp_path / "photos", 2, 1)
    by_path = open_source(tmp_path / "photos")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("photos", "./photos", "~/photos", pathlib.Path("photos")):
        assert len(open_source(name).train) == len(by_path.train)


@pytest.mark.parametrize("name", ["./photos", "/nowhere/photos", pathlib.Path("photos")])
def test_a_path_that_is_not_there(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"^There is no directory .*photos; it is to hold images"):
        open_source(name)


def test_digits():
    assert open_source("digits").info.num_train == 1437
    with pytest.raises(ValueError, match=r"^There is no directory and no data set 'digit'; did you mean digits"):
        open_source("digit")
    with pytest.raises(ValueError, match=r"^The digits are divided once and for all; their splits are 'train' and"):
        open_source("digits", test_split="validation")
