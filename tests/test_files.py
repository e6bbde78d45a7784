"""Outputs are complete or absent."""

import errno
import os
import pathlib
import re
import signal
import subprocess
import sys

import pytest

from keras_nest import files
from keras_nest.files import ChangedError, atomic_output, remove, remove_partial, unchanged


def write(path, text, directory=False):
    """A file, or a directory with a file and a sub-directory."""
    if directory:
        (path / "sub").mkdir(parents=True)
        path = path / "sub" / "file"
    path.write_text(text)


def read(path):
    return ((path / "sub" / "file") if path.is_dir() else path).read_text()


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("directory", [False, True])
def test_output_appears_at_the_end(tmp_path, directory):
    path = tmp_path / "new" / "folder" / "model.weights.h5"
    with atomic_output(path) as partial:
        assert partial.parent == path.parent
        assert partial.suffixes == path.suffixes
        assert not partial.exists()
        write(partial, "new", directory)
        assert not path.exists()
    assert read(path) == "new"
    assert names(path.parent) == [path.name]


def test_takes_relative_strings(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with atomic_output("model.keras") as partial:
        write(partial, "new")
    assert read(tmp_path / "model.keras") == "new"


def fail_half_way(path, directory, error=RuntimeError):
    with atomic_output(path, overwrite=True) as partial:
        write(partial, "half", directory)
        raise error


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
@pytest.mark.parametrize("directory", [False, True])
def test_failure_leaves_nothing(tmp_path, directory, error):
    with pytest.raises(error):
        fail_half_way(tmp_path / "out", directory, error)
    assert names(tmp_path) == []


@pytest.mark.parametrize("directory", [False, True])
def test_failure_keeps_what_was_there(tmp_path, directory):
    write(tmp_path / "out", "old", directory)
    with pytest.raises(RuntimeError):
        fail_half_way(tmp_path / "out", directory)
    assert read(tmp_path / "out") == "old"
    assert names(tmp_path) == ["out"]


@pytest.mark.parametrize("directory", [False, True])
def test_a_writer_that_wrote_nothing_destroys_nothing(tmp_path, directory):
    write(tmp_path / "out", "old", directory)
    with pytest.raises(FileNotFoundError), atomic_output(tmp_path / "out", overwrite=True):
        pass
    assert read(tmp_path / "out") == "old"
    assert names(tmp_path) == ["out"]


@pytest.mark.parametrize(("old_is_directory", "new_is_directory"), [(False, False), (False, True), (True, True)])
def test_overwrite_replaces(tmp_path, old_is_directory, new_is_directory):
    write(tmp_path / "out", "old", old_is_directory)
    with atomic_output(tmp_path / "out", overwrite=True) as partial:
        write(partial, "new", new_is_directory)
        assert read(tmp_path / "out") == "old"
    assert read(tmp_path / "out") == "new"
    assert (tmp_path / "out").is_dir() == new_is_directory
    assert names(tmp_path) == ["out"]


def test_existing_output_is_refused_before_any_work(tmp_path):
    write(tmp_path / "out", "old")
    with pytest.raises(FileExistsError, match=r"out exists already; .*--overwrite"), atomic_output(tmp_path / "out"):
        pytest.fail("the work began")
    assert read(tmp_path / "out") == "old"


@pytest.mark.parametrize("path", ["file/out", "file/folder/out", "folder/" + "x" * 300])
def test_unwritable_place_is_refused_before_any_work(tmp_path, path):
    write(tmp_path / "file", "a file where a folder would have to be")
    with pytest.raises(PermissionError, match="cannot be written to"), atomic_output(tmp_path / path):
        pytest.fail("the work began")
    assert read(tmp_path / "file").startswith("a file")


def test_a_file_never_replaces_a_directory(tmp_path):
    write(tmp_path / "out", "old", directory=True)
    with pytest.raises(IsADirectoryError, match="is a directory"), atomic_output(tmp_path / "out", True) as partial:
        partial.write_text("new")
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_what_killed_processes_left_is_removed(tmp_path):
    with atomic_output(tmp_path / "whole") as partial:
        partial.write_text("new")
        leftovers = [partial.with_name(partial.name.replace("whole", name)) for name in ("file", "directory")]
    leftovers[0].write_text("half")
    leftovers[1].mkdir()
    (leftovers[1] / "part").write_text("half")
    remove_partial(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["whole"]
    remove_partial(tmp_path / "nowhere")


def killed_half_way(path, moment):
    """Writes an output in another process, which is killed in the midst of it, or before it takes its place."""
    script = f"""
import os, pathlib, signal, sys
sys.path.append({str(pathlib.Path(files.__file__).parent)!r})
import files  # alone: the package takes seconds
def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)
if {moment!r} == "replacing":
    pathlib.Path.rename = lambda self, target, rename=pathlib.Path.rename: (rename(self, target), die())
with files.atomic_output({str(path)!r}, overwrite=True) as partial:
    (partial / "sub").mkdir(parents=True)
    (partial / "sub" / "file").write_text("half")
    if {moment!r} == "writing":
        die()
"""
    assert subprocess.run([sys.executable, "-S", "-c", script]).returncode == -signal.SIGKILL


def test_the_next_output_removes_what_a_killed_one_left(tmp_path):
    killed_half_way(tmp_path / "out", "writing")
    (tmp_path / ".partial-01234567-out").mkdir()  # as older versions left it, without a lock
    (tmp_path / ".partial-01234567-other").mkdir()
    assert len(names(tmp_path)) == 4
    with atomic_output(tmp_path / "out") as partial:
        partial.write_text("new")
    assert names(tmp_path) == [".partial-01234567-other", "out"]
    assert read(tmp_path / "out") == "new"


def test_what_was_put_aside_comes_back_after_a_kill(tmp_path):
    write(tmp_path / "out", "old", directory=True)
    killed_half_way(tmp_path / "out", "replacing")
    assert "out" not in names(tmp_path)
    with pytest.raises(FileExistsError, match="exists already"), atomic_output(tmp_path / "out"):
        pytest.fail("the work began")
    assert names(tmp_path) == ["out"]
    assert read(tmp_path / "out") == "old"


def test_an_output_that_is_being_written_is_left_alone(tmp_path):
    with atomic_output(tmp_path / "out") as slow:
        slow.mkdir()
        with atomic_output(tmp_path / "out") as partial:
            partial.write_text("quick")
        assert slow.is_dir()
        remove(tmp_path / "out")
    assert names(tmp_path) == ["out"]
    assert (tmp_path / "out").is_dir()


def fill_the_disk(path):
    """As HDF5 says it, of an output in another."""
    with atomic_output(path) as outer:
        outer.mkdir()
        with atomic_output(outer / "inner") as partial:
            partial.write_text("half")
            raise RuntimeError("Unable to flush (errno = 28, error message = 'No space left on device')")


def test_a_full_disk_ends_in_a_sentence_and_leaves_nothing(tmp_path):
    path = tmp_path / "new" / "folder" / "out"
    sentence = re.escape(f"{path / 'inner'} cannot be written: {os.strerror(errno.ENOSPC)}.")
    with pytest.raises(OSError, match=f"^{sentence}$"):
        fill_the_disk(path)
    assert names(tmp_path) == []


@pytest.mark.parametrize("is_folder", [False, True])
def test_an_output_is_on_the_disk_before_it_takes_its_place(is_folder, tmp_path, monkeypatch):
    synced, fsync = [], os.fsync

    def recorded(descriptor):
        synced.append((os.readlink(f"/proc/self/fd/{descriptor}"), (tmp_path / "new" / "output").exists()))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", recorded)
    with atomic_output(tmp_path / "new" / "output") as partial:
        if is_folder:
            partial.mkdir()
        file = partial / "file" if is_folder else partial
        file.write_text("content")
    folders = [str(tmp_path / "new"), str(tmp_path)]
    inside = [str(partial), str(file)] if is_folder else [str(partial)]
    assert synced == [*((path, False) for path in inside), *((path, True) for path in folders)]


def test_a_disk_that_takes_nothing_leaves_what_was_there(tmp_path, monkeypatch):
    def fails(descriptor):
        raise OSError(5, "Input/output error")

    (tmp_path / "output").write_text("old")
    monkeypatch.setattr(os, "fsync", fails)
    with (
        pytest.raises(OSError, match="Input/output error"),
        atomic_output(tmp_path / "output", overwrite=True) as partial,
    ):
        partial.write_text("new")
    assert [path.read_text() for path in tmp_path.iterdir()] == ["old"]


def change(path, how, is_noticed):
    with unchanged(path):
        if how == "replaced":
            path.with_name("other").write_text("new")
            path.with_name("other").replace(path)
        elif how == "written to":
            path.write_text("longer")
        else:
            path.unlink()
        if is_noticed:
            raise EOFError


@pytest.mark.parametrize("how", ["replaced", "written to", "removed"])
@pytest.mark.parametrize("is_noticed", [False, True])
def test_a_file_that_changes_while_it_is_read_is_refused(tmp_path, how, is_noticed):
    (tmp_path / "model").write_text("old")
    with pytest.raises(ChangedError, match="model was changed while it was read; try again"):
        change(tmp_path / "model", how, is_noticed)


def test_a_file_that_stays_as_it_is(tmp_path):
    (tmp_path / "model").write_text("old")
    with unchanged(tmp_path / "model"):
        assert (tmp_path / "model").read_text() == "old"
    with pytest.raises(EOFError), unchanged(tmp_path / "model"):
        raise EOFError
