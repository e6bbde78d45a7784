"""Outputs that are there whole or not at all, on this machine or at an address such as gs://bucket/x.

A bucket has no renaming: an output is made in a directory of this machine and sent when it is complete. A file is there
once all of it is. Of a directory, what lies deepest goes first and the files in it itself last, by name: saved_model.pb
is the last one of a SavedModel, without which nobody reads it. As long as it is not whole, there is an object
.partial-NAME beside it; what a kill leaves so counts as absent, and the next output of that name replaces it.
"""

import contextlib
import functools
import os
import pathlib
import tempfile
import uuid
from collections.abc import Iterator

import tensorflow as tf

from keras_nest import buckets
from keras_nest.files import PARTIAL, atomic_output, telling_of_disk
from keras_nest.places import Address, as_place, standing_for, telling

# Those that show an object once it is whole; elsewhere a file grows under its name.
_OBJECT_STORES = ("gs://", "s3://", "s3a://", "az://")


@contextlib.contextmanager
def output_at(path: str | os.PathLike[str], overwrite: bool = False) -> Iterator[pathlib.Path]:
    """`keras_nest.files.atomic_output` for a path that may be an address.

    Args:
        path: where the output shall lie; missing parent directories are created.
        overwrite: replace what lies there. A directory at an address is gone from when the new one is sent until that
            is there.

    Yields:
        A path of this machine with the same suffixes, where nothing lies yet. If the block raises, it is removed and
        `path` is left as it was.

    Raises:
        ValueError: `path` is an address that TensorFlow has no file system for, or a whole bucket.
        FileExistsError: something lies at `path` and `overwrite` is false.
        IsADirectoryError: a file would replace a directory.
        OSError: the directory cannot be written to; on this machine a PermissionError.
    """
    place = as_place(path)
    if isinstance(place, pathlib.Path):
        with atomic_output(place, overwrite) as partial:
            yield partial
        return
    if len(place.parts) < 3:
        raise ValueError(f"{place} has no directory to lie in; write an address such as gs://BUCKET/NAME.")
    buckets.forget()
    if place.exists() and not overwrite:
        raise FileExistsError(f"{place} exists already; pass overwrite=True (--overwrite) to replace it.")
    _check_writable(place.parent)
    with tempfile.TemporaryDirectory(prefix="keras-nest-") as folder:
        local = pathlib.Path(folder).resolve() / place.name
        with standing_for(str(place), local):
            with telling_of_disk(f"{place}, which is made in {tempfile.gettempdir()} first,"):
                yield local
            _send(local, place, overwrite)


@contextlib.contextmanager
def whole(address: str) -> Iterator[str]:
    """Where to write a file so that it is at its address only once it is complete."""
    folder, _, name = address.rpartition("/")
    tf.io.gfile.makedirs(folder)
    if address.startswith(_OBJECT_STORES):
        yield address
        return
    partial = f"{folder}/{PARTIAL}{name}"
    # Writing to what is there appends to it under ram://.
    if tf.io.gfile.exists(partial):
        tf.io.gfile.remove(partial)
    yield partial
    tf.io.gfile.rename(partial, address, overwrite=True)


def send_file(local: pathlib.Path, address: str) -> None:
    """Brings a file to its address, where it is once all of it is; what lies there is replaced.

    Raises:
        tensorflow.errors.OpError: the address cannot be written to.
    """
    with whole(address) as target:
        tf.io.gfile.copy(str(local), target, overwrite=True)


def size(path: str | os.PathLike[str]) -> int:
    """Bytes of a file, or of all files in a directory, on this machine or at an address."""
    path = os.fspath(path)
    if not buckets.is_dir(path):
        return buckets.size(path)
    return sum(buckets.size(f"{path}/{name}") for name in buckets.files_below(path))


@functools.cache
def _check_writable(folder: Address) -> None:
    """Refuses before any work what could not be sent after it; each directory is tried once."""
    trial = str(folder / PARTIAL)
    with telling(str(folder), "written to"):
        tf.io.gfile.makedirs(str(folder))
        _write(trial, "")
        _remove(folder / PARTIAL)  # another process may do the same


def _send(local: pathlib.Path, place: Address, overwrite: bool) -> None:
    """Brings a file or directory to its address.

    Raises:
        FileExistsError: meanwhile there is something, or somebody else writes it.
        IsADirectoryError: a file would replace a directory.
        OSError: the address cannot be written to.
    """
    buckets.forget()
    if place.exists() and not overwrite:
        raise _overtaken(place)
    with telling(str(place), "written to"):
        if local.is_dir():
            _send_directory(local, place)
        elif place.is_dir():
            raise IsADirectoryError(f"{place} is a directory; it is not replaced by a file, so give another name.")
        else:
            send_file(local, str(place))
    buckets.forget()


def _send_directory(local: pathlib.Path, place: Address) -> None:
    mark, ours = str(place.partial), uuid.uuid4().hex
    _write(mark, ours)
    try:
        _remove(place)
        for name in sorted(buckets.files_below(str(local)), key=lambda name: (-name.count("/"), name)):
            if _read(mark) != ours:
                raise _overtaken(place)
            send_file(local / name, f"{place}/{name}")
    except BaseException:
        # Where the bucket does not answer the mark stays, and says that nothing is there.
        with contextlib.suppress(tf.errors.OpError):
            if _read(mark) == ours:
                _remove(place)
                tf.io.gfile.remove(mark)
        raise
    tf.io.gfile.remove(mark)


def _overtaken(place: Address) -> FileExistsError:
    return FileExistsError(f"{place} was written by another process meanwhile; try again.")


def _remove(place: Address) -> None:
    """Removes a file or directory, if there is one."""
    with contextlib.suppress(tf.errors.NotFoundError):
        (tf.io.gfile.rmtree if tf.io.gfile.isdir(str(place)) else tf.io.gfile.remove)(str(place))


def _write(address: str, text: str) -> None:
    # Writing to what is there appends to it under ram://.
    if tf.io.gfile.exists(address):
        tf.io.gfile.remove(address)
    with tf.io.gfile.GFile(address, "w") as file:
        file.write(text)


def _read(address: str) -> str:
    with tf.io.gfile.GFile(address) as file:
        return file.read()
