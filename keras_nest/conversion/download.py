"""Published files -> a local directory, through TensorFlow's file systems."""

import contextlib
import dataclasses
import os
import pathlib
from collections.abc import Iterator

import tensorflow as tf

from keras_nest.conversion.hugging_face import is_handle, on_this_machine, parse_handle
from keras_nest.conversion.sources import Progress
from keras_nest.files import check_local

_CHUNK = 16 << 20
# Compared to see that two files of one name and size are the same: an .npz ends with the checksums of its arrays.
_TAIL = 1 << 20
_BUCKET = "gs://"


@dataclasses.dataclass(frozen=True)
class _File:
    """A file to fetch, and how many of its bytes are there already, in place or in what an earlier copy left."""

    uri: str
    path: pathlib.Path
    size: int
    kept: int
    complete: bool = False

    @property
    def partial(self) -> pathlib.Path:
        return _partial(self.path)


def download(
    uri: str | os.PathLike[str],
    directory: str | os.PathLike[str],
    overwrite: bool = False,
    progress: Progress | None = None,
) -> pathlib.Path:
    """Copies a file, or a directory with all that lies in it.

    A file is written as NAME.partial and renamed once it is complete. What an interrupted copy left is continued, and
    a file that is complete already is not fetched again.

    Args:
        uri: local, any path that TensorFlow reads ("gs://…"), or a handle of the hub ("hf://OWNER/NAME").
        directory: where the copy shall lie, under its own name; made if missing.
        overwrite: replace another file of that name.
        progress: told how many bytes are there, of how many; first before anything is fetched.

    Returns:
        Path of the copy.

    Raises:
        ValueError: the directory is an address such as gs://….
        FileNotFoundError: there is no such file.
        FileExistsError: another file of that name lies there and `overwrite` is false.
        OSError: the source cannot be read or changed meanwhile, or the directory cannot be written to.
    """
    check_local(directory)
    source, uri = os.fspath(uri), on_this_machine(uri).rstrip("/")
    # What lies in the cache of the hub is called after a commit.
    is_repository = is_handle(source) and os.path.isdir(uri)
    name = parse_handle(source).repository if is_repository else uri
    target = pathlib.Path(directory) / os.path.basename(name)
    with reading(uri):
        files = [_plan(source, path, overwrite) for source, path in _walk(uri, target)]
        done, total = sum(file.kept for file in files), sum(file.size for file in files)
        if progress:
            progress(done, total)
        for file in files:
            for count in _fetch(file):
                done += count
                if progress:
                    progress(done, total)
    return target


@contextlib.contextmanager
def reading(uri: str) -> Iterator[None]:
    """Turns TensorFlow's errors about a source into one sentence.

    Raises:
        FileNotFoundError: there is no such file.
        OSError: it cannot be read; an object of a bucket is then named by the address for a browser.
    """
    try:
        yield
    except tf.errors.NotFoundError:
        raise FileNotFoundError(f"There is no {uri}.") from None
    except tf.errors.OpError as error:
        reason = error.message.partition("\n")[0].rpartition("error details: ")[2]
        raise OSError(f"{uri} cannot be read ({reason}){_by_hand(uri)}.") from None


def _by_hand(uri: str) -> str:
    """Where a browser finds an object of a bucket; directories it does not."""
    if not uri.startswith(_BUCKET) or not os.path.splitext(uri)[1]:
        return ""
    return f"; by hand it can be had from https://storage.googleapis.com/{uri.removeprefix(_BUCKET)}"


def _walk(uri: str, target: pathlib.Path) -> Iterator[tuple[str, pathlib.Path]]:
    """Source and place of every file."""
    if not tf.io.gfile.isdir(uri):
        yield uri, target
        return
    for name in sorted(entry.rstrip("/") for entry in tf.io.gfile.listdir(uri)):
        yield from _walk(f"{uri}/{name}", target / name)


def _plan(uri: str, path: pathlib.Path, overwrite: bool) -> _File:
    size = tf.io.gfile.stat(uri).length
    with _writing(path):
        if path.is_file() and path.stat().st_size == size and _agree(uri, path, size):
            return _File(uri, path, size, size, complete=True)
        if path.exists() and not overwrite:
            raise FileExistsError(
                f"{path} exists already and differs from {uri}; pass overwrite=True (--overwrite) to replace it."
            )
        partial = _partial(path)
        there = partial.stat().st_size if partial.is_file() else 0
        return _File(uri, path, size, there if there <= size and _agree(uri, partial, there) else 0)


def _partial(path: pathlib.Path) -> pathlib.Path:
    return path.with_name(f"{path.name}.partial")


def _agree(uri: str, path: pathlib.Path, end: int) -> bool:
    """Whether a local file continues the source: the same bytes before `end`."""
    if end == 0:
        return True
    start = max(0, end - _TAIL)
    with tf.io.gfile.GFile(uri, "rb") as source, open(path, "rb") as file:
        source.seek(start)
        file.seek(start)
        return source.read(end - start) == file.read(end - start)


def _fetch(file: _File) -> Iterator[int]:
    """Copies what is missing; yields the size of each piece."""
    if file.complete:
        return
    with _writing(file.path):
        file.path.parent.mkdir(parents=True, exist_ok=True)
        with tf.io.gfile.GFile(file.uri, "rb") as source, open(file.partial, "ab" if file.kept else "wb") as output:
            source.seek(file.kept)
            while chunk := source.read(_CHUNK):
                output.write(chunk)
                yield len(chunk)
        _check_size(file)
        file.partial.replace(file.path)


@contextlib.contextmanager
def _writing(path: pathlib.Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.strerror is None:  # already a sentence
            raise
        raise type(error)(f"{path} cannot be written: {error.strerror}.") from None


def _check_size(file: _File) -> None:
    size = file.partial.stat().st_size
    if size != file.size:
        raise OSError(
            f"{file.uri} gave {size:,} bytes instead of {file.size:,}; it changed, or two copies run at once."
        )
