"""Directories at addresses: what lies there is what lies here, whenever it is looked at."""

import pathlib

import pytest
import tensorflow as tf

from keras_nest import mirror
from keras_nest.mirror import mirrored, push
from keras_nest.outputs import whole
from keras_nest.places import shown
from tests.buckets_in_memory import listing_late, there


@pytest.fixture
def bucket(request):
    """An address of this process alone."""
    return f"ram://{request.node.name.replace('[', '-').replace(']', '')}/run"


def test_changes_go_there_and_come_back(bucket):
    with mirrored(bucket) as directory:
        (directory / "checkpoints").mkdir()
        (directory / "a.txt").write_text("1")
        (directory / "checkpoints" / "b.txt").write_text("2")
        (directory / ".partial-c").write_text("half")
        (directory / "converted").mkdir()
        (directory / "converted/1.bmp").write_text("made again by whoever needs it")
        push(directory)
        assert there(bucket) == {"a.txt": "1", "checkpoints/b.txt": "2"}
        (directory / "a.txt").write_text("22")
        (directory / "checkpoints" / "b.txt").unlink()
        push(directory)
        assert there(bucket) == {"a.txt": "22"}
    assert not directory.exists()
    with mirrored(pathlib.Path(bucket)) as again:
        assert {path.name: path.read_text() for path in again.rglob("*")} == {"a.txt": "22"}


def test_lists_of_another_moment(bucket):
    with mirrored(bucket) as directory:
        for name in "ab":
            (directory / name).write_text(name)
        push(directory)
    with listing_late(lambda name: name == "a", gone=["c", ".partial-d"]), mirrored(bucket) as directory:
        mirror.mirror_of(directory).remove_partial()
        assert {path.name for path in directory.iterdir()} == {"b"}
        (directory / "b").unlink()
        tf.io.gfile.remove(f"{bucket}/b")
        push(directory)
    assert there(bucket) == {"a": "a"}, "what was not seen is not removed"


def test_only_what_changed_is_sent(bucket, monkeypatch):
    sent = []
    with mirrored(bucket) as directory:
        for name in "abc":
            (directory / name).write_text(name)
        push(directory)
        copy = tf.io.gfile.copy
        monkeypatch.setattr(
            tf.io.gfile, "copy", lambda one, two, overwrite: (sent.append(one), copy(one, two, overwrite))
        )
        (directory / "b").write_text("new")
        push(directory)
        push(directory)
    assert [pathlib.Path(name).name for name in sent] == ["b"]


def test_what_says_that_others_are_complete_goes_last_and_away_first(bucket, monkeypatch):
    events = []
    rename, remove = tf.io.gfile.rename, tf.io.gfile.remove
    names = ("ckpt-1.data-0", "ckpt-1.index", "best.json", "checkpoint", "best-1.weights.h5")
    with mirrored(bucket) as directory:
        (directory / "metrics.json").write_text("{}")
        (directory / "checkpoints").mkdir()
        for name in names:
            (directory / "checkpoints" / name).write_text("x")
        monkeypatch.setattr(
            tf.io.gfile, "rename", lambda one, two, overwrite: (events.append(two), rename(one, two, overwrite))
        )
        push(directory)
        for name in names:
            (directory / "checkpoints" / name).unlink()
        monkeypatch.setattr(tf.io.gfile, "remove", lambda path: (events.append(path), remove(path)))
        push(directory)
    order = [event.rpartition("/")[2] for event in events]
    written = ["best-1.weights.h5", "ckpt-1.data-0", "ckpt-1.index", "best.json", "checkpoint"]
    assert order == [*written, "metrics.json", *reversed(written)]


@pytest.mark.parametrize("failing", range(1, 7))
def test_what_fails_goes_there_with_the_next_call(bucket, failing, monkeypatch):
    calls = 0
    rename = tf.io.gfile.rename

    def unreliable(one, two, overwrite):
        nonlocal calls
        calls += 1
        if calls == failing:
            raise tf.errors.UnavailableError(None, None, "the bucket does not answer")
        rename(one, two, overwrite)

    with mirrored(bucket) as directory:
        monkeypatch.setattr(tf.io.gfile, "rename", unreliable)
        content = {f"{number}.txt": str(number) for number in range(5)}
        for name, text in content.items():
            (directory / name).write_text(text)
        if failing <= 5:
            with pytest.raises(OSError, match=f"{bucket} cannot be written to: the bucket does not answer."):
                push(directory)
            assert set(there(bucket).items()) < {*content.items(), *((f".partial-{n}", t) for n, t in content.items())}
        push(directory)
        whole = {name: text for name, text in there(bucket).items() if not name.startswith(".partial-")}
        assert whole == content


def test_another_run_whose_name_begins_alike(bucket):
    """Of which ram:// lists the end of the name as if it lay in this one."""
    put(f"{bucket}2", {"a.txt": "theirs"})
    put(bucket, {"a.txt": "ours", "b/c.txt": "ours"})
    with mirrored(bucket) as directory:
        assert sorted(path.name for path in directory.rglob("*")) == ["a.txt", "b", "c.txt"]


@pytest.mark.parametrize("failing", ["", "/b"])
def test_what_cannot_be_listed_is_not_taken_for_empty(bucket, failing, monkeypatch):
    """A run would begin anew."""
    put(bucket, {"a.txt": "1", "b/c.txt": "2"})
    listdir = tf.io.gfile.listdir

    def unreliable(path):
        if path == bucket + failing:
            raise tf.errors.UnavailableError(None, None, "503")
        return listdir(path)

    monkeypatch.setattr(tf.io.gfile, "listdir", unreliable)
    with pytest.raises(OSError, match=f"^{bucket} cannot be read: 503.$"), mirrored(bucket):
        pytest.fail("the work began")


def test_a_local_directory_is_itself(tmp_path):
    with mirrored(tmp_path) as directory:
        push(directory)
    assert directory == tmp_path
    assert tmp_path.exists()


def test_a_scheme_that_nothing_reads_is_refused():
    with pytest.raises(ValueError, match="TensorFlow has no file system for s3://"), mirrored("s3://bucket/run"):
        raise AssertionError


def test_messages_name_the_address(bucket):
    with pytest.raises(FileExistsError, match=f"^{bucket}/model is there.$"):
        fail(bucket)


def fail(bucket):
    with mirrored(bucket) as directory:
        assert shown(directory / "x") == f"{bucket}/x"
        raise FileExistsError(f"{directory}/model is there.")


def put(address, files):
    for name, text in files.items():
        with whole(f"{address}/{name}") as place, tf.io.gfile.GFile(place, "w") as file:
            file.write(text)


def test_results_of_a_run_are_kept_and_fetched_again_where_they_changed(bucket, tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_NEST_CACHE", str(tmp_path))
    assert mirror.cached_run(bucket) is None
    put(bucket, {"model.keras": "1", "metrics.json": "2", "checkpoints/ckpt-1.index": "3", "notes.txt": "4"})
    place = mirror.cached_run(f"{bucket}/")
    assert {path.name: path.read_text() for path in place.iterdir()} == {"model.keras": "1", "metrics.json": "2"}
    put(bucket, {"model.keras": "5"})
    tf.io.gfile.remove(f"{bucket}/metrics.json")
    assert mirror.cached_run(bucket) == place
    assert {path.name: path.read_text() for path in place.iterdir()} == {"model.keras": "5"}
