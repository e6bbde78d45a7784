"""From what a user types to the tensors of a checkpoint."""

import io
import os
import re
from collections.abc import Callable
from typing import Any, BinaryIO

import tensorflow as tf

from keras_nest.conversion.msgpack_file import msgpack_image_size, read_msgpack
from keras_nest.conversion.names import Tree, model_tree
from keras_nest.conversion.npz_file import npz_image_size, read_npz
from keras_nest.conversion.orbax_directory import MARKERS, orbax_image_size, read_orbax
from keras_nest.conversion.own import read_own
from keras_nest.exported import refuse_export
from keras_nest.models.keras_file import find_keras_file
from keras_nest.models.weights_file import SUFFIX
from keras_nest.types import Size

# Called with the bytes read so far and the bytes in all.
Progress = Callable[[int, int], None]


def read_checkpoint(path: str | os.PathLike[str], progress: Progress | None = None, trust: bool = False) -> Tree:
    """Reads the model's tensors from any published kind of checkpoint.

    Args:
        path: a published directory, a file in it or the name users type ("…/ckpt.39"); a Flax msgpack file; a
            '/'-keyed .npz; an Orbax directory; a .keras file of this package or a training's directory. Local,
            or any path that TensorFlow reads.
        progress: told how many bytes were read.
        trust: as `read_model` takes it.

    Returns:
        "params/PATH" and "batch_stats/PATH" -> array.

    Raises:
        FileNotFoundError: nothing there, or no checkpoint in the directory.
        ValueError: damaged, or not a checkpoint.
    """
    if file := find_keras_file(path):
        return model_tree(read_own(file, trust))
    refuse_export(path)
    if os.fspath(path).endswith(SUFFIX):
        raise ValueError(
            f"{path} does not say of which model its weights are; give create_model the name and weights=…."
        )
    try:
        located = locate(os.fspath(path))
        if tf.io.gfile.isdir(located):
            return read_orbax(located)
        with _open(located, progress) as binary:
            return read_npz(binary) if _is_zip(binary) else read_msgpack(binary)
    except ValueError as error:
        raise ValueError(f"The checkpoint {path} cannot be read: {error}.") from None
    except tf.errors.OpError as error:
        raise FileNotFoundError(f"The checkpoint {path} cannot be read: {error.message}.") from None


def read_image_size(path: str | os.PathLike[str]) -> Size | None:
    """Height and width of the images of a checkpoint's model; None where it does not tell, as published files do not.

    Args:
        path: a checkpoint that `read_checkpoint` reads, other than a .keras file.
    """
    located = locate(os.fspath(path))
    if tf.io.gfile.isdir(located):
        return orbax_image_size(located)
    with _open(located, None) as file:
        return npz_image_size(file) if _is_zip(file) else msgpack_image_size(file)


def locate(path: str) -> str:
    """The file or Orbax directory that a checkpoint's name means.

    Raises:
        FileNotFoundError: nothing found; says what lies there instead.
    """
    path = path.rstrip("/") or path
    if tf.io.gfile.isdir(path):
        return _locate_in_directory(path)
    directory, name = os.path.split(path)
    prefix = re.match(r"(?P<stem>.*?)[.-](?P<number>\d+)(\.index|\.data-\d+-of-\d+)?$", name)
    if tf.io.gfile.exists(path):
        if name == "checkpoint":
            return _locate_in_directory(directory)
        return _require(directory, f"{prefix['stem']}-{prefix['number']}.flax") if prefix else path
    if prefix and tf.io.gfile.isdir(directory or "."):
        return _require(directory, f"{prefix['stem']}-{prefix['number']}.flax")
    raise FileNotFoundError(
        f"There is no checkpoint {path}; give a .flax, .npz or .keras file, or the directory of one or of a training."
    )


def _locate_in_directory(directory: str) -> str:
    entries = tf.io.gfile.listdir(directory or ".")
    names = [entry.rstrip("/") for entry in entries]
    numbers = {int(m[1]): name for name in names if (m := re.fullmatch(r".*-(\d+)\.flax", name))}
    if numbers:
        return os.path.join(directory, _newest(directory, names) or numbers[max(numbers)])
    if any(marker in names for marker in MARKERS):
        # A step directory of Orbax' CheckpointManager holds its PyTree in an item.
        inner = [name for name in ("default", "params", "state") if name in names]
        return os.path.join(directory, inner[0]) if inner else directory
    raise FileNotFoundError(
        f"The directory {directory} holds no checkpoint: neither ckpt-NUMBER.flax nor an Orbax checkpoint "
        "nor model.keras of a finished training."
    )


def _newest(directory: str, names: list[str]) -> str | None:
    """The file that the text file `checkpoint` calls the newest, if both are there."""
    if "checkpoint" not in names:
        return None
    with tf.io.gfile.GFile(os.path.join(directory, "checkpoint")) as file:
        match = re.search(r'^model_checkpoint_path: "(.*)"', file.read(), re.MULTILINE)
    name = f"{os.path.basename(match[1])}.flax" if match else None
    return name if name in names else None


def _require(directory: str, name: str) -> str:
    path = os.path.join(directory, name)
    if tf.io.gfile.exists(path):
        return path
    there = sorted(entry for entry in tf.io.gfile.listdir(directory or ".") if entry.endswith(".flax"))
    found = f"it holds {', '.join(there)}" if there else "it holds no .flax file"
    raise FileNotFoundError(f"There is no {name} in {directory or 'the current directory'}; {found}.")


class _Reader(io.RawIOBase):
    """A binary file that reports how far it was read."""

    def __init__(self, file: BinaryIO, size: int, progress: Progress | None) -> None:
        self._file, self._size, self._progress = file, size, progress
        self._read = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        if whence != os.SEEK_SET:  # TensorFlow's files seek from the start only
            offset += self._file.tell() if whence == os.SEEK_CUR else self._size
        self._file.seek(offset)
        return offset

    def tell(self) -> int:
        return self._file.tell()

    def readinto(self, buffer: Any) -> int:
        data = self._file.read(len(buffer))
        buffer[: len(data)] = data
        self._read += len(data)
        if self._progress:
            self._progress(min(self._read, self._size), self._size)
        return len(data)

    def close(self) -> None:
        self._file.close()
        super().close()


def _is_zip(file: io.BufferedReader) -> bool:
    return file.peek(2)[:2] == b"PK"


def _open(path: str, progress: Progress | None) -> io.BufferedReader:
    # TensorFlow's file layer copies more than Python's; it is used where it is needed.
    file = tf.io.gfile.GFile(path, "rb") if "://" in path else open(path, "rb")  # noqa: SIM115
    return io.BufferedReader(_Reader(file, tf.io.gfile.stat(path).length, progress), 1 << 24)
