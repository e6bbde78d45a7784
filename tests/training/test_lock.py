"""One training at a time: what ends a lock, and what does not."""

import errno
import fcntl
import os
import socket
import subprocess
import sys
import threading

import pytest

from keras_nest.training import lock
from keras_nest.training.lock import InUseError, locked

# The module alone: the package would take seconds to import.
HOLD = """
import pathlib, runpy, sys, time
with runpy.run_path(sys.argv[1])["locked"](pathlib.Path(sys.argv[2])):
    print("locked", flush=True)
    time.sleep(300)
"""


@pytest.fixture
def other(tmp_path):
    """A process that is at work in the directory."""
    command = [sys.executable, "-c", HOLD, lock.__file__, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "locked\n"
        yield process
        process.kill()


def test_a_directory_has_one_owner_and_nothing_is_left(tmp_path):
    workdir = tmp_path / "a" / "b"
    with locked(workdir):
        with pytest.raises(InUseError, match="is in use"), locked(workdir):
            pass
        with pytest.raises(InUseError, match="is in use"), locked(workdir):
            pass
    assert list(workdir.iterdir()) == []
    with locked(workdir):
        pass


def test_another_process_is_named(other, tmp_path):
    message = (
        rf"{tmp_path} is in use: .* \(process {other.pid} on {socket.gethostname()}, since \d+-.*\); wait for its end"
    )
    with pytest.raises(InUseError, match=message), locked(tmp_path):
        pass


def test_a_killed_process_does_not_stand_in_the_way(other, tmp_path, capsys):
    other.kill()
    other.wait()
    assert (tmp_path / ".lock").exists()
    with locked(tmp_path):
        assert f"(process {other.pid} on" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []
    with locked(tmp_path):
        assert capsys.readouterr().out == ""


def test_another_thread(tmp_path):
    found = []

    def second():
        try:
            with locked(tmp_path):
                found.append("has it too")
        except InUseError as error:
            found.append(error)

    with locked(tmp_path):
        thread = threading.Thread(target=second)
        thread.start()
        thread.join()
    assert isinstance(found[0], InUseError)


def test_an_error_ends_it(tmp_path):
    with pytest.raises(KeyboardInterrupt), locked(tmp_path):
        raise KeyboardInterrupt
    with locked(tmp_path):
        pass


def test_a_file_that_was_removed_meanwhile_is_not_taken(tmp_path, monkeypatch):
    """The owner removes it at the end, between another one's opening and locking."""
    flock, opened = fcntl.flock, []

    def late(descriptor, operation):
        opened.append(os.fstat(descriptor).st_ino)
        if len(opened) == 1:
            (tmp_path / ".lock").unlink()
            (tmp_path / "keeps the number").touch()
        flock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", late)
    with locked(tmp_path):
        assert len(opened) == 2
        assert os.stat(tmp_path / ".lock").st_ino == opened[-1]


def test_a_file_system_without_locks_is_told(tmp_path, monkeypatch, capsys):
    def unsupported(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", unsupported)
    with locked(tmp_path):
        assert "cannot be locked (No locks available); start no other training there" in capsys.readouterr().out


def test_a_directory_that_cannot_be_written_to(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(PermissionError, match="cannot be written to: "), locked(tmp_path / "file"):
        pass
