"""Copies on this machine of what lies elsewhere: complete, or continued."""

import contextlib
import dataclasses
import fcntl
import os
import pathlib
import sys
import tempfile
from collections.abc import Iterator

from keras_nest import buckets
from keras_nest.files import unchanged
from keras_nest.places import standing_for
from keras_nest.types import Progress

_CHUNK = 16 << 20
# Compared to see that two files of one name and size are the same: an .npz ends with the checksums of its arrays.
_TAIL = 1 << 20


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


def copy(uri: str, target: pathlib.Path, overwrite: bool = False, progress: Progress | None = None) -> None:
    """Copies a file, or a directory with all that lies in it.

    A file is written as NAME.partial and renamed once it is complete. What an interrupted copy left is continued, and
    a file that is complete already is not fetched again.

    Args:
        uri: local, or an address.
        target: path of the copy.
        overwrite: replace another file of that name.
        progress: told how many bytes are there, of how many; first before anything is fetched.

    Raises:
        FileNotFoundError: there is no such file.
        FileExistsError: another file of that name lies there and `overwrite` is false.
        OSError: the source cannot be read or changed meanwhile, or the directory cannot be written to.
    """
    files = [_plan(source, path, overwrite) for source, path in _walk(uri, target)]
    done, total = sum(file.kept for file in files), sum(file.size for file in files)
    if progress:
        progress(done, total)
    for file in files:
        for count in _fetch(file):
            done += count
            if progress:
                progress(done, total)


def cached(path: str | os.PathLike[str], progress: Progress | None = None) -> str:
    """A copy of a public object or directory of a bucket, in the cache of `keras_nest.files.cache_folder`.

    It is fetched where it is not there, or differs; without a network what is there is taken as it is.

    Args:
        path: an address; every other path is returned as it is, and so is that of a private object.
        progress: told how many bytes are there, of how many; None has a line on the standard error.

    Raises:
        FileNotFoundError: there is no such object.
        OSError: it cannot be read, or the cache cannot be written to.
    """
    path = os.fspath(path)
    if not buckets.is_public(path):
        return path
    if not buckets.exists(path):
        raise FileNotFoundError(f"There is no {path}.")
    place = buckets.place(path)
    if not buckets.is_offline(path):
        with _alone(place):
            copy(path, place, overwrite=True, progress=progress or _line(path))
    return str(place)


@contextlib.contextmanager
def local_file(path: str | os.PathLike[str], what: str) -> Iterator[pathlib.Path]:
    """A file on this machine: the one at a path, or a copy of one at an address.

    Args:
        path: local, or an address.
        what: it is, for the message, such as "model".

    Yields:
        Its path; a copy has the same name, and goes at the end unless it is in the cache.

    Raises:
        FileNotFoundError: there is no such file.
        OSError: it cannot be read.
        ValueError: it was changed while it was read.
    """
    with tempfile.TemporaryDirectory() as folder:
        try:
            source = cached(path)
            place = pathlib.Path(folder, os.path.basename(source)) if "://" in source else pathlib.Path(source)
            if "://" in source:
                copy(source, place)
        except FileNotFoundError:
            place = pathlib.Path(folder)
        if not place.is_file():
            raise FileNotFoundError(f"There is no {what} {os.fspath(path)}.")
        with standing_for(source, place) if "://" in source else unchanged(place):
            yield place


def _line(uri: str) -> Progress:
    """Says what is fetched: on a terminal how far it is, elsewhere once."""
    said = False

    def tell(done: int, size: int) -> None:
        nonlocal said
        if (done == size and not said) or (said and not sys.stderr.isatty()):
            return
        start, end = ("\r", "\n" if done == size else "") if sys.stderr.isatty() else ("", "\n")
        share = f"{done / 2**20:,.1f} of " if sys.stderr.isatty() else ""
        print(f"{start}Fetching {uri}: {share}{size / 2**20:,.1f} MiB", end=end, file=sys.stderr, flush=True)
        said = True

    return tell


@contextlib.contextmanager
def _alone(place: pathlib.Path) -> Iterator[None]:
    """Lets one process at a time fetch something; the others find it then."""
    with _writing(place):
        place.parent.mkdir(parents=True, exist_ok=True)
        lock = open(place.with_name(f"{place.name}{buckets.LOCK}"), "w")  # noqa: SIM115
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _walk(uri: str, target: pathlib.Path) -> Iterator[tuple[str, pathlib.Path]]:
    """Source and place of every file."""
    if not buckets.is_dir(uri):
        yield uri, target
        return
    for name in sorted(buckets.list_dir(uri)):
        yield from _walk(f"{uri}/{name}", target / name)


def _plan(uri: str, path: pathlib.Path, overwrite: bool) -> _File:
    size = buckets.size(uri)
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
    return path.with_name(f"{path.name}{buckets.PARTIAL}")


def _agree(uri: str, path: pathlib.Path, end: int) -> bool:
    """Whether a local file continues the source: the same bytes before `end`."""
    if end == 0:
        return True
    start = max(0, end - _TAIL)
    with open(path, "rb") as file:
        file.seek(start)
        return b"".join(buckets.read(uri, start, end)) == file.read(end - start)


def _fetch(file: _File) -> Iterator[int]:
    """Copies what is missing; yields the size of each piece."""
    if file.complete:
        return
    with _writing(file.path):
        file.path.parent.mkdir(parents=True, exist_ok=True)
        with open(file.partial, "ab" if file.kept else "wb") as output:
            # What is complete but for its name needs no byte, and a server has none to give.
            for piece in buckets.read(file.uri, file.kept, chunk=_CHUNK) if file.kept < file.size else ():
                output.write(piece)
                yield len(piece)
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
            f"{file.uri} gave {size:,} bytes instead of {file.size:,}; the connection broke, it changed, or two copies "
            "run at once. The same command goes on from there."
        )
