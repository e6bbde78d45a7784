"""Copies are complete or continued; the sources are local files, which TensorFlow reads as it reads buckets."""

import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys

import pytest
import tensorflow as tf

from keras_nest import buckets
from keras_nest import copies as module
from keras_nest.conversion.download import download

ROOT = pathlib.Path(__file__).parents[2]
CHUNK = 1 << 16
SIZE = 5 * CHUNK + 123


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    monkeypatch.setattr(module, "_CHUNK", CHUNK)


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "bucket" / "model.npz"
    path.parent.mkdir()
    path.write_bytes(random.Random(1).randbytes(SIZE))
    return path


def files(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def fetch(source, folder, **options):
    """What was told of the progress."""
    told = []
    assert download(source, folder, progress=lambda *counts: told.append(counts), **options) == folder / source.name
    return told


class TestAFile:
    def test_copy(self, source, tmp_path):
        told = fetch(source, tmp_path / "new" / "folder")
        assert told == [(min(n * CHUNK, SIZE), SIZE) for n in range(7)]
        assert files(tmp_path / "new") == {"folder/model.npz": source.read_bytes()}

    def test_relative_strings(self, source, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        assert download("bucket/model.npz", "out") == pathlib.Path("out/model.npz")
        assert files(tmp_path / "out") == {"model.npz": source.read_bytes()}

    def test_empty(self, tmp_path):
        (tmp_path / "empty.txt").touch()
        assert fetch(tmp_path / "empty.txt", tmp_path / "out") == [(0, 0)]
        assert files(tmp_path / "out") == {"empty.txt": b""}

    def test_complete_ones_are_not_fetched_again(self, source, tmp_path):
        fetch(source, tmp_path / "out")
        before = (tmp_path / "out" / "model.npz").stat()
        for overwrite in (False, True):
            assert fetch(source, tmp_path / "out", overwrite=overwrite) == [(SIZE, SIZE)]
        after = (tmp_path / "out" / "model.npz").stat()
        assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)

    @pytest.mark.parametrize("other", [b"short", bytes(SIZE), bytes(SIZE + 1), b""])
    def test_another_file_of_that_name(self, other, source, tmp_path):
        """Also of that size: Mixer-B_16.npz of imagenet1k, sam and gsam differ in their numbers only."""
        (tmp_path / "model.npz").write_bytes(other)
        with pytest.raises(FileExistsError, match=r"exists already and differs from .*; pass overwrite=True"):
            download(source, tmp_path)
        assert (tmp_path / "model.npz").read_bytes() == other
        fetch(source, tmp_path, overwrite=True)
        assert (tmp_path / "model.npz").read_bytes() == source.read_bytes()


class TestADirectory:
    @pytest.fixture
    def directory(self, source):
        (source.parent / "sub").mkdir()
        (source.parent / "sub" / "other").write_bytes(b"other")
        return source.parent

    def test_copy(self, directory, tmp_path):
        told = fetch(directory, tmp_path / "out")
        assert (told[0], told[-1]) == ((0, SIZE + 5), (SIZE + 5, SIZE + 5))
        assert files(tmp_path / "out" / "bucket") == files(directory)
        assert fetch(directory, tmp_path / "out") == [(SIZE + 5, SIZE + 5)]
        assert download(f"{directory}/", tmp_path / "out") == tmp_path / "out" / "bucket"

    def test_what_is_missing_is_fetched(self, directory, tmp_path):
        fetch(directory, tmp_path / "out")
        (tmp_path / "out" / "bucket" / "sub" / "other").unlink()
        assert fetch(directory, tmp_path / "out") == [(SIZE, SIZE + 5), (SIZE + 5, SIZE + 5)]
        assert files(tmp_path / "out" / "bucket") == files(directory)

    def test_nothing_is_fetched_beside_another_file(self, directory, tmp_path):
        (tmp_path / "out" / "bucket" / "sub").mkdir(parents=True)
        (tmp_path / "out" / "bucket" / "sub" / "other").write_bytes(b"mine")
        with pytest.raises(FileExistsError, match="sub/other exists already"):
            download(directory, tmp_path / "out")
        assert files(tmp_path / "out") == {"bucket/sub/other": b"mine"}


def look_half_way(source, folder):
    """What lies on the disk when three pieces are told to be there, as a kill at this moment would leave it."""

    def tell(done, size):
        if done == 3 * CHUNK:
            shutil.copytree(folder.with_name("whole"), folder)

    download(source, folder.with_name("whole"), progress=tell)


def kill_half_way(source, folder):
    """Copies in a process of its own, which is killed when three pieces are there."""
    script = (
        "import sys, time\nfrom keras_nest import copies\nfrom keras_nest.conversion.download import download\n"
        f"copies._CHUNK = {CHUNK}\n"
        f"tell = lambda done, size: done < {3 * CHUNK} or (print('now', flush=True), time.sleep(300))\n"
        "download(sys.argv[1], sys.argv[2], progress=tell)"
    )
    command = [sys.executable, "-c", script, str(source), str(folder)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout.readline() == "now\n"
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL


class TestInterrupted:
    @pytest.mark.parametrize("stop", [look_half_way, pytest.param(kill_half_way, marks=pytest.mark.slow)])
    def test_a_killed_copy_is_continued(self, stop, source, tmp_path):
        stop(source, tmp_path / "out")
        assert files(tmp_path / "out") == {"model.npz.partial": source.read_bytes()[: 3 * CHUNK]}
        assert fetch(source, tmp_path / "out")[0] == (3 * CHUNK, SIZE)
        assert files(tmp_path / "out") == {"model.npz": source.read_bytes()}

    def test_only_the_rest_is_read(self, source, tmp_path, monkeypatch):
        """A change far before the end of what was left stays, so those bytes did not come again."""
        monkeypatch.setattr(module, "_TAIL", 100)
        half = bytearray(source.read_bytes()[: 2 * CHUNK])
        half[7] ^= 1
        (tmp_path / "model.npz.partial").write_bytes(half)
        fetch(source, tmp_path)
        assert (tmp_path / "model.npz").read_bytes() == bytes(half) + source.read_bytes()[2 * CHUNK :]

    @pytest.mark.parametrize("left", [b"", bytes(2 * CHUNK), bytes(SIZE), bytes(SIZE + 1)])
    def test_what_another_file_left_is_not(self, left, source, tmp_path):
        (tmp_path / "model.npz.partial").write_bytes(left)
        assert fetch(source, tmp_path)[0] == (0, SIZE)
        assert (tmp_path / "model.npz").read_bytes() == source.read_bytes()
        assert not (tmp_path / "model.npz.partial").exists()

    def test_killed_before_the_renaming(self, source, tmp_path):
        (tmp_path / "model.npz.partial").write_bytes(source.read_bytes())
        assert fetch(source, tmp_path) == [(SIZE, SIZE)]
        assert (tmp_path / "model.npz").read_bytes() == source.read_bytes()

    @pytest.mark.parametrize("change", [-CHUNK, 7])
    def test_a_source_that_changes(self, change, source, tmp_path):
        size = 40 * CHUNK  # TensorFlow reads eight pieces ahead
        source.write_bytes(random.Random(2).randbytes(size))

        def tell(done, total):
            if done == 2 * CHUNK:
                os.truncate(source, size + change)

        with pytest.raises(OSError, match=f"gave {size + change:,} bytes instead of {size:,}"):
            download(source, tmp_path / "out", progress=tell)
        assert "model.npz" not in files(tmp_path / "out")
        fetch(source, tmp_path / "out")
        assert files(tmp_path / "out") == {"model.npz": source.read_bytes()}

    def test_overwriting_keeps_the_old_file_until_the_end(self, source, tmp_path):
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "model.npz").write_bytes(b"old")

        def stop(done, total):
            if done == CHUNK:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            download(source, tmp_path / "out", overwrite=True, progress=stop)
        assert files(tmp_path / "out")["model.npz"] == b"old"


class TestBadInput:
    def test_no_source(self, tmp_path):
        with pytest.raises(FileNotFoundError, match=r"^There is no .*/nowhere\.npz\.$"):
            download(tmp_path / "nowhere.npz", tmp_path / "out")
        assert not (tmp_path / "out").exists()

    def test_unknown_scheme(self, tmp_path):
        with pytest.raises(OSError, match=r"^s3://a/b\.npz cannot be read \(File system scheme 's3' not implemented"):
            download("s3://a/b.npz", tmp_path)

    @pytest.mark.parametrize(
        ("uri", "end"),
        [
            ("gs://a/b/c.npz", r"; by hand it can be had from https://storage\.googleapis\.com/a/b/c\.npz\."),
            ("gs://a/b", r"\."),
        ],
    )
    def test_no_network_for_tensorflow(self, uri, end, tmp_path, monkeypatch):
        reason = "Error executing an HTTP request: libcurl code 6, error details: Could not resolve host: x\n\t when …"

        def fail(*_):
            raise tf.errors.FailedPreconditionError(None, None, reason)

        monkeypatch.setattr(buckets, "is_public", lambda path: False)
        monkeypatch.setattr(tf.io.gfile, "isdir", lambda path: False)
        monkeypatch.setattr(tf.io.gfile, "stat", fail)
        with pytest.raises(OSError, match=rf"^{uri} cannot be read \(Could not resolve host: x\){end}$"):
            download(uri, tmp_path)

    def test_directory_that_cannot_be_written(self, source, tmp_path):
        (tmp_path / "file").write_text("precious")
        with pytest.raises(OSError, match=r"file/sub/model\.npz cannot be written: Not a directory\."):
            download(source, tmp_path / "file" / "sub")
        assert (tmp_path / "file").read_text() == "precious"

    def test_full_disk(self, source, tmp_path):
        (tmp_path / "model.npz.partial").symlink_to("/dev/full")
        with pytest.raises(OSError, match=r"model\.npz cannot be written: No space left on device\."):
            download(source, tmp_path)
        assert not (tmp_path / "model.npz").exists()

    def test_a_directory_of_that_name(self, source, tmp_path):
        (tmp_path / "model.npz").mkdir()
        with pytest.raises(FileExistsError, match="exists already"):
            download(source, tmp_path)
        with pytest.raises(OSError, match="cannot be written: Is a directory"):
            download(source, tmp_path, overwrite=True)
