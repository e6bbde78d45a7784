"""Outputs at addresses are there whole or not at all, whatever goes wrong on the way."""

import itertools
import pathlib

import pytest
import tensorflow as tf

from keras_nest import outputs
from keras_nest.files import PARTIAL
from keras_nest.outputs import output_at, size, whole
from keras_nest.places import Address
from tests.buckets_in_memory import failing, there, watched

FILES = {"saved_model.pb": "graph", "README.md": "card", "variables/variables.index": "i", "variables/v.data": "1"}


@pytest.fixture
def place(request):
    """An address of this test alone."""
    outputs._check_writable.cache_clear()
    return Address(f"ram://{request.node.name.translate(str.maketrans('[]', '--'))}/models/7")


def write(place, content, overwrite=False):
    with output_at(place, overwrite) as partial:
        if isinstance(content, str):
            partial.write_text(content)
            return
        for name, data in content.items():
            (partial / name).parent.mkdir(parents=True, exist_ok=True)
            (partial / name).write_text(data)


def beside(place):
    """What lies where the output does, whole or not."""
    return {name.partition("/")[0] for name in there(str(place.parent))}


def test_a_path_of_this_machine_is_one(tmp_path):
    with output_at(tmp_path / "x") as partial:
        assert partial.parent == tmp_path
        partial.write_text("1")
    assert (tmp_path / "x").read_text() == "1"


@pytest.mark.parametrize("content", ["one", FILES])
def test_it_is_there(place, content):
    write(place, content)
    assert there(str(place)) == (content if content is FILES else {}) or place.read_text("utf-8") == content
    assert place.exists()
    assert beside(place) == {"7"}
    assert size(place) == (3 if content == "one" else sum(map(len, FILES.values())))


def test_it_is_made_under_its_name(place):
    with output_at(place.with_suffix(".keras")) as partial:
        assert partial.name == "7.keras"
        partial.touch()


def test_what_is_there_stays_unless_it_is_to_be_replaced(place):
    write(place, {"a": "1", "b/c": "2"})
    with pytest.raises(FileExistsError, match=f"^{place} exists already; pass overwrite=True"):
        write(place, FILES)
    assert there(str(place)) == {"a": "1", "b/c": "2"}
    write(place, FILES, overwrite=True)
    assert there(str(place)) == FILES, "and nothing of the old one"


def test_size(place):
    """Of what lies there, without what ram:// lists as if it did: assets.extra in assets, and what is beside it."""
    write(place, {"assets/a": "1", "assets.extra/b": "22"})
    write(f"{place}.zip", "333")
    assert (size(place), size(f"{place}.zip")) == (3, 3)


def test_a_file_does_not_replace_a_directory(place):
    write(place, FILES)
    with pytest.raises(IsADirectoryError, match=f"^{place} is a directory"):
        write(place, "1", overwrite=True)
    assert there(str(place)) == FILES


def test_a_file_replaces_a_file_at_once(place):
    write(place, "the old one")
    with failing(1), pytest.raises(OSError, match=f"^{place} cannot be written to: 503.$"):
        write(place, "new", overwrite=True)
    assert place.read_text("utf-8") == "the old one"
    write(place, "new", overwrite=True)
    assert place.read_text("utf-8") == "new"


def test_work_that_fails_leaves_all_as_it_was(place):
    write(place, FILES)
    made = []

    def fail():
        with output_at(place, overwrite=True) as partial:
            made.append(partial)
            partial.mkdir()
            raise ValueError(f"{partial}/x is wrong.")

    with pytest.raises(ValueError, match=f"^{place}/x is wrong.$"):
        fail()
    assert there(str(place)) == FILES
    assert beside(place) == {"7"}
    assert not made[0].parent.exists()


def test_order(place):
    """What says that it is whole comes last, and goes first."""
    told = []
    write(place, {"saved_model.pb": "old", "old": "1"})
    with watched(lambda name, path: told.append((name, Address(path).name))):
        write(place, FILES, overwrite=True)
    mark = f"{PARTIAL}7"
    assert [name for change, name in told if change == "rename"] == [
        *("v.data", "variables.index", "README.md", "saved_model.pb")
    ]
    assert told.index(("rmtree", "7")) < told.index(("rename", "v.data"))
    assert told[-1] == ("remove", mark)
    assert [entry for entry in told if entry == ("remove", mark)] == [("remove", mark)]


@pytest.mark.parametrize("dead", [False, True], ids=["once", "from then on"])
@pytest.mark.parametrize("overwrite", [False, True])
def test_nothing_half_there_counts(place, overwrite, dead):
    """Whichever change the bucket refuses, once or from then on: it is not there, or the old one, and then the new."""
    old = {"saved_model.pb": "old", "variables/v.data": "0"}
    for number in itertools.count(1):
        outputs._check_writable.cache_clear()
        if place.exists():
            tf.io.gfile.rmtree(str(place))
        if overwrite:
            write(place, old)
        told = fails(place, overwrite, number, None if dead else number)
        if not told:
            break
        assert told in (f"{place} cannot be written to: 503.", f"{place.parent} cannot be written to: 503.")
        assert not place.exists() or (overwrite and there(str(place)) == old)
        write(place, FILES, overwrite)
        assert there(str(place)) == FILES
        assert beside(place) == {"7"}
    assert number > 10
    assert there(str(place)) == FILES


def fails(place, overwrite, first, last):
    """What is told where the bucket refuses something; "" where it refuses nothing."""
    try:
        with failing(first, last):
            write(place, FILES, overwrite)
    except OSError as error:
        return str(error)
    return ""


class KilledError(BaseException):
    """Nothing runs after it."""


@pytest.mark.parametrize("number", range(3, 16, 3))
def test_a_kill(place, number):
    count = 0

    def kill(name, path):
        nonlocal count
        count += 1
        if count >= number:
            raise KilledError

    with watched(kill), pytest.raises(KilledError):
        write(place, FILES)
    assert not place.exists()
    write(place, FILES)
    assert there(str(place)) == FILES
    assert beside(place) == {"7"}


def test_another_one_who_is_faster(place):
    def be_slow():
        with output_at(place) as partial:
            partial.write_text("ours")
            write(place, "theirs")

    with pytest.raises(FileExistsError, match=f"^{place} was written by another process"):
        be_slow()
    assert place.read_text("utf-8") == "theirs"


def test_another_one_who_takes_over(place):
    """It found what was half there, and goes on; this one ends, and leaves all to it."""

    def take_over(name, path):
        if name == "rename" and path.endswith("v.data"):
            outputs._write(str(place.partial), "another")

    with watched(lambda *change: None, take_over), pytest.raises(FileExistsError, match="by another process meanwhile"):
        write(place, FILES)
    assert there(str(place.parent)) == {place.partial.name: "another", "7/variables/v.data": "1"}


def test_what_cannot_be_written_is_told_before_any_work(tmp_path):
    (tmp_path / "file").touch()
    place = f"file://{tmp_path}/file/x"
    with pytest.raises(OSError, match=f"^file://{tmp_path}/file cannot be written to: "), output_at(place):
        raise AssertionError


@pytest.mark.parametrize("place", ["gs://bucket", "ram://x/", "file:///x"])
def test_a_bucket_is_no_output(place):
    with pytest.raises(ValueError, match=r"^\w+:///?\w+ has no directory to lie in"), output_at(place):
        raise AssertionError


def test_file_systems_of_others_are_refused():
    with pytest.raises(ValueError, match=r"^s3://b/x: TensorFlow has no file system for s3://"), output_at("s3://b/x"):
        raise AssertionError


def test_a_file_grows_under_another_name(place):
    with whole(str(place)) as partial:
        assert pathlib.PurePosixPath(partial).name == f"{PARTIAL}7"
        with tf.io.gfile.GFile(partial, "w") as file:
            file.write("1")
        assert not place.exists()
    assert place.read_text("utf-8") == "1"


def test_of_an_object_store_it_appears_at_once(monkeypatch):
    monkeypatch.setattr(tf.io.gfile, "makedirs", lambda path: None)
    with whole("gs://bucket/x") as partial:
        assert partial == "gs://bucket/x"
