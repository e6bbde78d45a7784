"""What is known of image files, and that nothing is looked at twice."""

import os

import numpy as np
import pytest

from keras_nest.data import inspection
from keras_nest.data.inspection import inspect
from tests.data.photographs import encoded, small


@pytest.fixture
def kept(tmp_path, monkeypatch):
    """The folder of the cache; everything is worth keeping."""
    monkeypatch.setenv("KERAS_NEST_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(inspection, "_KEPT_FROM", 1)
    return tmp_path / "cache"


@pytest.fixture
def files(tmp_path):
    """Two images, one of them on its side, and what is none."""
    (tmp_path / "a.jpg").write_bytes(encoded(small("rocket"), "JPEG", orientation=6))
    (tmp_path / "b.png").write_bytes(encoded(small("chelsea")))
    (tmp_path / "c.png").write_text("no image")
    (tmp_path / "d.png").touch()
    return [str(tmp_path / name) for name in ("a.jpg", "b.png", "c.png", "d.png", "e.png")]


@pytest.fixture
def looked(monkeypatch):
    """Names of the files that are read."""
    names = []
    read = inspection.read_encoded
    monkeypatch.setattr(inspection, "read_encoded", lambda path: names.append(os.path.basename(path)) or read(path))
    return names


def same(one, other):
    return all(a[:5] == b[:5] and a.fault == b.fault and np.array_equal(a.thumbnail, b.thumbnail)
               for a, b in zip(one, other, strict=True))  # fmt: skip


def test_what_is_known(files):
    a, b, *others = inspect(files, "root")
    assert (a.orientation, a.height, a.width, a.fault) == (6, 48, 36, "")
    assert (b.orientation, b.height, b.width, b.size) == (1, 36, 48, os.path.getsize(files[1]))
    assert [each.fault for each in others] == ["is no image", "is empty", "is not there"]


def test_whole_files_are_looked_at_once_until_they_change(files, tmp_path, kept, looked):
    first = inspect(files, tmp_path)
    assert sorted(looked) == ["a.jpg", "b.png", "c.png"]
    assert len(list(kept.rglob("*.npz"))) == 1
    looked.clear()
    assert same(inspect(files, tmp_path), first)
    assert looked == ["c.png"]  # which may be put right
    looked.clear()
    os.utime(files[1], ns=(0, first[1].changed + 1))
    os.remove(files[0])
    assert [each.fault for each in inspect(files[:2], tmp_path)] == ["is not there", ""]
    assert looked == ["b.png"]


def test_what_was_found_before_an_interruption_is_kept(files, tmp_path, kept, looked, monkeypatch):
    def interrupted(paths, known):
        yield inspection._look(paths[0], None)
        raise KeyboardInterrupt

    with monkeypatch.context() as changed:
        changed.setattr(inspection, "_results", interrupted)
        with pytest.raises(KeyboardInterrupt):
            inspect(files[:2], tmp_path)
    looked.clear()
    inspect(files[:2], tmp_path)
    assert looked == ["b.png"]


@pytest.mark.parametrize("damage", [b"", b"no archive"])
def test_a_cache_that_is_none_is_made_anew(files, tmp_path, kept, damage):
    first = inspect(files, tmp_path)
    (file,) = kept.rglob("*.npz")
    file.write_bytes(damage)
    assert same(inspect(files, tmp_path), first)
    assert file.stat().st_size > len(damage)


def test_a_cache_that_cannot_be_written_is_none(files, tmp_path, kept):
    kept.write_text("a file in its place")
    assert inspect(files, tmp_path)[1].fault == ""


def test_it_is_not_written_again_for_broken_files_alone(files, tmp_path, kept):
    inspect(files, tmp_path)
    (file,) = kept.rglob("*.npz")
    written = file.stat().st_mtime_ns
    inspect(files, tmp_path)
    assert file.stat().st_mtime_ns == written
