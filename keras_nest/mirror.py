"""Directories in buckets: a run works in a copy on this machine, and what changes there goes to its address.

TensorFlow's file systems are used (gs://, hdfs://, and what plugins add), since tf.data reads the same addresses. A
bucket has no renaming and no appending: files go there whole, and those that say that others are complete go last, so
that what a kill leaves is what a kill leaves in a local directory.
"""

import contextlib
import os
import pathlib
import re
import shutil
import tempfile
from collections.abc import Iterator
from typing import TypeAlias

import tensorflow as tf

from keras_nest import buckets
from keras_nest.copies import copy
from keras_nest.files import PARTIAL, cache_folder, is_address
from keras_nest.outputs import send_file
from keras_nest.places import check_scheme, normal, stand_for, standing_for, telling
from keras_nest.run_files import CONVERTED, FILES, GENERATOR, METRICS, MODEL

Stamp: TypeAlias = tuple[int, int]
"""Size in bytes and time of the last change, in ns: another one for another content."""

_NOT_OF_THE_RUN = (".lock", PARTIAL, CONVERTED)
_MIRRORS: dict[pathlib.Path, "Mirror"] = {}


class Mirror:
    """A directory of this machine that stands for one at an address.

    Args:
        address: such as gs://bucket/run; it need not be there.

    Attributes:
        address: without a slash at its end.
        directory: the local one, new and empty.

    Raises:
        ValueError: TensorFlow has no file system for such addresses.
    """

    def __init__(self, address: str) -> None:
        self.address = normal(address)
        check_scheme(self.address)
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="keras-nest-")).resolve()
        self._here: dict[str, Stamp] = {}
        self._there: dict[str, Stamp] = {}

    def fetch(self) -> None:
        """Makes the local directory what lies at the address, but for what a kill left half-written there.

        Raises:
            OSError: the address cannot be read.
        """
        with telling(self.address, "read"):
            there = self._list()
            for name, stamp in there.items():
                if self._there.get(name) != stamp or not (self.directory / name).exists():
                    (self.directory / name).parent.mkdir(parents=True, exist_ok=True)
                    with contextlib.suppress(tf.errors.NotFoundError):
                        tf.io.gfile.copy(f"{self.address}/{name}", str(self.directory / name), overwrite=True)
        for name in set(self._files()) - set(there):
            (self.directory / name).unlink()
        self._there, self._here = there, self._files()

    def push(self) -> None:
        """Brings what has changed since the last time to the address, and removes there what was removed here.

        Raises:
            OSError: the address cannot be written to; what was changed goes there with the next call.
        """
        here = self._files()
        with telling(self.address, "written to"):
            for name in sorted(here, key=_rank):
                if self._here.get(name) != here[name]:
                    send_file(self.directory / name, f"{self.address}/{name}")
                    self._here[name], self._there[name] = here[name], _stamp(f"{self.address}/{name}")
            # Without its index a checkpoint is none.
            for name in sorted(set(self._here) - set(here), key=_rank, reverse=True):
                _remove(f"{self.address}/{name}")
                del self._here[name]
                self._there.pop(name, None)

    def _files(self) -> dict[str, Stamp]:
        """Files of the local directory, by name."""
        found = {}
        for path in self.directory.rglob("*"):
            name = path.relative_to(self.directory).as_posix()
            if _belongs(name) and path.is_file():
                status = path.stat()
                found[name] = status.st_size, status.st_mtime_ns
        return found

    def _list(self) -> dict[str, Stamp]:
        """Files at the address, by name, without those that were left half-written.

        What was removed may still be in a list; it is not there.
        """
        found = {}
        for name in filter(_belongs, buckets.files_below(self.address)):
            with contextlib.suppress(tf.errors.NotFoundError):
                found[name] = _stamp(f"{self.address}/{name}")
        return found

    def remove_partial(self) -> None:
        """Removes at the address what kills left half-written; none may be at work there.

        Raises:
            OSError: the address cannot be written to.
        """
        with telling(self.address, "written to"):
            for name in buckets.files_below(self.address):
                if name.rpartition("/")[2].startswith(PARTIAL):
                    _remove(f"{self.address}/{name}")


@contextlib.contextmanager
def mirrored(place: str | os.PathLike[str]) -> Iterator[pathlib.Path]:
    """A directory to work in: a local path itself, for an address a copy that lasts as long as the block.

    What changes in it goes to the address with `push`. Errors that name the copy name the address instead.

    Args:
        place: path or address; it need not be there.

    Raises:
        ValueError: TensorFlow has no file system for such addresses.
        OSError: the address cannot be read.
    """
    if not is_address(place):
        yield pathlib.Path(place)
        return
    mirror = Mirror(os.fspath(place))
    _MIRRORS[mirror.directory] = mirror
    try:
        with standing_for(mirror.address, mirror.directory):
            mirror.fetch()
            yield mirror.directory
    finally:
        del _MIRRORS[mirror.directory]
        shutil.rmtree(mirror.directory, ignore_errors=True)


def cached_run(address: str) -> pathlib.Path | None:
    """A copy of the results of the run at an address, in the cache; what changed there is fetched again.

    Args:
        address: with "://".

    Returns:
        Its directory, without checkpoints; None where no run has left a model.

    Raises:
        OSError: the address cannot be read, or the cache not be written to.
    """
    address = normal(address)
    there = set(buckets.list_dir(address)) if buckets.is_dir(address) else set()
    if not there & {MODEL, GENERATOR}:
        return None
    place = cache_folder().joinpath("runs", *re.split(r":?/+", address))
    for name in sorted(there & {*FILES, GENERATOR}):
        copy(f"{address}/{name}", place / name, overwrite=True)
    for path in place.iterdir():
        if path.name not in there:
            path.unlink()
    stand_for(address, place)
    return place


def run_directory(path: str | os.PathLike[str]) -> pathlib.Path:
    """The directory of a run; of one at an address the copy of its results, any other path as it is.

    Raises:
        OSError: the address cannot be read.
    """
    return (is_address(path) and cached_run(os.fspath(path))) or pathlib.Path(path)


def mirror_of(directory: pathlib.Path) -> Mirror | None:
    """The mirror whose directory it is; None of any other directory."""
    return _MIRRORS.get(directory)


def push(directory: pathlib.Path) -> None:
    """Brings what has changed in the directory of a mirror to its address; does nothing for any other directory."""
    if mirror := mirror_of(directory):
        mirror.push()


def fetch(directory: pathlib.Path) -> None:
    """Brings the directory of a mirror up to date; does nothing for any other directory."""
    if mirror := mirror_of(directory):
        mirror.fetch()


def _stamp(address: str) -> Stamp:
    status = tf.io.gfile.stat(address)
    return status.length, status.mtime_nsec


def _remove(address: str) -> None:
    """Removes a file, unless it is gone already."""
    with contextlib.suppress(tf.errors.NotFoundError):
        tf.io.gfile.remove(address)


def _belongs(name: str) -> bool:
    return not any(part.startswith(_NOT_OF_THE_RUN) for part in name.split("/"))


def _rank(name: str) -> tuple[int, str]:
    """Files that say that others are complete come after those."""
    last = name.rpartition("/")[2]
    if name == METRICS:
        return 3, name
    if last in ("checkpoint", "best.json"):
        return 2, name
    return (1 if last.endswith(".index") else 0), name
