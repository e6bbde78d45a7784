"""Paths that may be addresses: what they are called, and what lies there."""

import pathlib
import pickle

import pytest
import tensorflow as tf

from keras_nest.places import Address, as_place, normal, read_lines, shown, stand_for, standing_for


@pytest.fixture
def folder(request):
    place = Address(f"ram://{request.node.name}/x")
    tf.io.gfile.makedirs(str(place / "inner"))
    for name, content in (("a.txt", b"1\r\n2\n"), ("inner/b", b"\xff")):
        with tf.io.gfile.GFile(str(place / name), "wb") as file:
            file.write(content)
    return place


@pytest.mark.parametrize(
    ("given", "address"),
    [
        ("gs://b/run/", "gs://b/run"),
        ("gs:/b/run", "gs://b/run"),
        ("gs://b//x/./y", "gs://b/x/y"),
        (pathlib.Path("gs://b") / "run", "gs://b/run"),
        ("file:///x/y", "file:///x/y"),
        ("file:/x", "file:///x"),
    ],
)
def test_names(given, address):
    place = as_place(given)
    assert isinstance(place, Address)
    assert str(place) == f"{place}" == normal(str(given).replace("b//x/.", "b/x")) == address


def test_parts():
    place = as_place("gs://bucket/models/7.tar.gz")
    assert str(place / "a" / "b.txt") == "gs://bucket/models/7.tar.gz/a/b.txt"
    assert (place.name, place.suffix, str(place.parent)) == ("7.tar.gz", ".gz", "gs://bucket/models")
    assert str(place.with_name("8")) == "gs://bucket/models/8"
    assert place == Address("gs:/bucket/models/7.tar.gz") == pickle.loads(pickle.dumps(place))
    assert {place: 1}[Address(place)] == 1
    assert repr(place) == "Address('gs://bucket/models/7.tar.gz')"


@pytest.mark.parametrize("path", ["x", "C:/x", "/x/y", "", pathlib.Path("x")])
def test_paths_of_this_machine_are_paths(path):
    assert as_place(path) == pathlib.Path(path)


def test_what_is_there(folder):
    assert folder.exists()
    assert folder.is_dir()
    assert not folder.is_file()
    assert sorted(folder.iterdir()) == [folder / "a.txt", folder / "inner"]
    assert (folder / "a.txt").is_file()
    assert not (folder / "c").exists()
    assert (folder / "inner/b").read_bytes() == b"\xff"
    assert (folder / "a.txt").read_text("utf-8") == "1\n2\n", "as a file of this machine"
    (folder / "a.txt").unlink()
    (folder / "a.txt").unlink(missing_ok=True)
    assert not (folder / "a.txt").exists()
    for act in (Address.unlink, Address.read_bytes):
        with pytest.raises(FileNotFoundError, match=f"There is no {folder}/a.txt."):
            act(folder / "a.txt")


def test_what_is_on_its_way_is_not_there(folder):
    with tf.io.gfile.GFile(str(folder.partial), "w") as file:
        file.write("mine")
    assert not folder.exists()
    assert (folder / "a.txt").exists()


def test_lines(folder):
    assert read_lines(folder / "a.txt", "label") == ["1", "2"]
    with pytest.raises(FileNotFoundError, match=f"There is no file of labels {folder}/c."):
        read_lines(str(folder / "c"), "label")
    with pytest.raises(ValueError, match=f"{folder}/inner/b is no text in UTF-8"):
        read_lines(folder / "inner/b", "label")


def test_messages_name_the_address(tmp_path):
    sentence = f"{tmp_path}/x is wrong"
    with pytest.raises(ValueError, match=r"^gs://bucket/x is wrong$"), standing_for("gs://bucket", tmp_path):
        raise ValueError(sentence)
    assert shown(sentence) == sentence
    stand_for("gs://bucket", tmp_path)
    assert shown(sentence) == "gs://bucket/x is wrong"
