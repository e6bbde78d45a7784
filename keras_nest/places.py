"""Paths that may be addresses such as gs://bucket/x: what lies there, and how messages name it.

TensorFlow's file systems are used, since tf.data and SavedModels read the same addresses; what everybody may read in
buckets of Google comes over https, see `keras_nest.buckets`. Writing is in `keras_nest.outputs`.
"""

import contextlib
import functools
import io
import itertools
import os
import pathlib
import re
from collections.abc import Iterator
from typing import TypeAlias

import tensorflow as tf

from keras_nest import buckets
from keras_nest.files import PARTIAL, is_address

MAX_LINES = 1_500_000
"""Of a text whose lines are short: a list of ImageNet has 1,281,167. Each names an image, some 400 bytes in memory."""

# Bytes of a line with a path and a class, on average: of these there may be any number.
_LONG_LINES = 50

_LONGEST_LINE = 1_000_000
# Those whose file systems are in a package of their own.
_PLUGIN = ("s3://", "s3a://", "hdfs://", "az://")
# Directories of this machine, and files in them, that stand for addresses.
_STAND_INS: dict[pathlib.Path, str] = {}


class Address(pathlib.PurePosixPath):
    """An address with the methods of a path; `str` and `os.fspath` give it with both slashes."""

    def __str__(self) -> str:
        return normal(super().__str__())

    def exists(self) -> bool:
        """Whether a file or a whole directory is there; one whose way there was broken off is none.

        Raises:
            OSError: that cannot be said.
        """
        if not buckets.exists(str(self)):
            return False
        return not self._is_broken_off()

    def _is_broken_off(self) -> bool:
        # A bucket itself has nothing beside it, and without a network the cache has only what was whole.
        if len(self.parts) < 3 or not self.is_dir() or (buckets.is_public(str(self)) and buckets.is_offline(str(self))):
            return False
        return buckets.exists(str(self.partial))

    @property
    def partial(self) -> "Address":
        """What lies beside a directory as long as it is not whole."""
        return self.with_name(f"{PARTIAL}{self.name}")

    def is_dir(self) -> bool:
        """Whether a directory is there, whole or not."""
        return buckets.is_dir(str(self))

    def is_file(self) -> bool:
        """Whether a file is there.

        Raises:
            OSError: that cannot be said.
        """
        return buckets.exists(str(self)) and not self.is_dir()

    def iterdir(self) -> Iterator["Address"]:
        """What lies in the directory.

        Raises:
            OSError: it cannot be read.
        """
        return (self / name for name in buckets.list_dir(str(self)))

    def read_bytes(self) -> bytes:
        """Content of a file.

        Raises:
            FileNotFoundError: there is none.
            OSError: it cannot be read.
        """
        return b"".join(buckets.read(str(self)))

    def read_text(self, encoding: str) -> str:
        """Content of a text file; errors as those of `read_bytes`, and UnicodeDecodeError."""
        # Ends of lines become those of Python, as in files of this machine.
        return io.TextIOWrapper(io.BytesIO(self.read_bytes()), encoding).read()

    def unlink(self, missing_ok: bool = False) -> None:
        """Removes a file.

        Raises:
            FileNotFoundError: there is none, and `missing_ok` is false.
            OSError: it cannot be removed.
        """
        if not self.is_file():
            if missing_ok:
                return
            raise FileNotFoundError(f"There is no {self}.")
        with telling(str(self), "removed"):
            tf.io.gfile.remove(str(self))
        buckets.forget()


Place: TypeAlias = pathlib.Path | Address
"""Where something lies: a path of this machine, or an address."""


def as_place(path: str | os.PathLike[str]) -> Place:
    """A path of this machine, or an address.

    Args:
        path: either; an address with one slash is one, too, as a path object has taken the other.

    Raises:
        ValueError: TensorFlow has no file system for such addresses.
    """
    if not is_address(path):
        return pathlib.Path(path)
    place = Address(path)
    check_scheme(str(place))
    return place


def is_dir(path: str | os.PathLike[str]) -> bool:
    """Whether a directory is there, of this machine or at an address.

    Raises:
        ValueError: TensorFlow has no file system for such addresses.
    """
    return as_place(path).is_dir() if is_address(path) else os.path.isdir(path)


def is_file(path: str | os.PathLike[str]) -> bool:
    """Whether a file is there; errors are those of `is_dir`, and an OSError where an address does not tell."""
    return as_place(path).is_file() if is_address(path) else os.path.isfile(path)


def absolute(path: str | os.PathLike[str]) -> str:
    """A path that does not depend on the current directory, such as an address."""
    return normal(os.fspath(path)) if is_address(path) else os.path.abspath(path)


def beside(file: str | os.PathLike[str], name: str) -> str:
    """Where lies what a file names: an address, an absolute path, or one relative to the file.

    >>> beside("gs://bucket/lists/all.csv", "../photos/1.jpg")
    'gs://bucket/photos/1.jpg'
    """
    if is_address(name):
        return normal(name)
    path = os.path.join(os.path.dirname(file), name)
    return normal(os.path.normpath(path)) if is_address(path) else path


def text_lines(content: bytes, name: str | os.PathLike[str], newline: str | None = "") -> Iterator[str]:
    """Lines of a text in UTF-8, one after another, without a mark of the order of bytes.

    Args:
        content: of the file.
        name: of the file, for messages.
        newline: what ends a line, and whether it becomes a line feed, as `open` takes it; by default lines keep it.

    Raises:
        UnicodeDecodeError: it is no such text.
        ValueError: it has more than `MAX_LINES` that are short, or one that is longer than any that people write.
    """
    most = max(MAX_LINES, len(content) // _LONG_LINES)
    with io.TextIOWrapper(io.BytesIO(content), "utf-8-sig", newline=newline) as text:
        for number in itertools.count(1):
            line = text.readline(_LONGEST_LINE)
            if not line:
                return
            if len(line) == _LONGEST_LINE:
                raise ValueError(f"Line {number} of {name} is too long: {_LONGEST_LINE:,} characters.")
            if number > most:
                raise ValueError(
                    f"{name} has more than {most:,} lines, too many for {len(content):,} bytes; leave out empty rows."
                )
            yield line


def read_lines(path: str | os.PathLike[str], what: str) -> list[str]:
    """Lines of a text file that a user writes, without empty ones at the end.

    Args:
        path: the file, UTF-8, local or at an address.
        what: a line is, for the messages, such as "class name".

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no text, or an address that TensorFlow does not know.
    """
    place = as_place(path)
    if not place.is_file():
        raise FileNotFoundError(f"There is no file of {what}s {place}.")
    try:
        lines = [line.removesuffix("\n") for line in text_lines(place.read_bytes(), place, None)]
    except UnicodeDecodeError:
        raise ValueError(f"{place} is no text in UTF-8; it must hold one {what} a line.") from None
    while lines and not lines[-1]:
        lines.pop()
    return lines


def normal(address: str) -> str:
    """An address with two slashes after the colon, of which a path object takes one, and none at the end."""
    return re.sub(r"^([A-Za-z][A-Za-z0-9+.-]+):/+", _slashes, address).rstrip("/")


def _slashes(match: re.Match[str]) -> str:
    return f"{match[1]}:///" if match[1] == "file" else f"{match[1]}://"


def check_scheme(address: str) -> None:
    """Refuses addresses that TensorFlow cannot read, before any work is done.

    Raises:
        ValueError: it has no file system for them.
    """
    if not has_file_system(address):
        scheme = f"{address.partition('://')[0]}://"
        plugin = f" ({scheme} comes with the package tensorflow-io)" if scheme in _PLUGIN else ""
        raise ValueError(f"{address}: TensorFlow has no file system for {scheme}{plugin}; gs:// it has.")


def has_file_system(address: str) -> bool:
    """Whether TensorFlow knows such addresses."""
    return _knows(f"{normal(address).partition('://')[0]}://")


@functools.cache
def _knows(scheme: str) -> bool:
    if scheme == buckets.PREFIX:
        return True  # and starts to look for credentials when it is asked
    try:
        tf.io.gfile.exists(f"{scheme}/keras-nest")
    except tf.errors.UnimplementedError:
        return False
    except tf.errors.OpError:
        pass
    return True


@contextlib.contextmanager
def telling(address: str, doing: str) -> Iterator[None]:
    """Tells in a sentence what TensorFlow's file systems do not do.

    Raises:
        OSError: see above.
    """
    try:
        yield
    except tf.errors.OpError as error:
        reason = str(error.message).partition("\n")[0].rstrip(".") or type(error).__name__
        raise OSError(f"{address} cannot be {doing}: {reason}.") from error


@contextlib.contextmanager
def standing_for(address: str, place: pathlib.Path) -> Iterator[None]:
    """While the block runs, `shown` and the errors of the block name the address in the place of a local path."""
    stand_for(address, place)
    try:
        with telling_addresses():
            yield
    finally:
        del _STAND_INS[place]


def stand_for(address: str, place: pathlib.Path) -> None:
    """From now on `shown` names the address in the place of a local path."""
    _STAND_INS[place] = address


@contextlib.contextmanager
def telling_addresses() -> Iterator[None]:
    """Errors of the block name the address where they would name what stands for it."""
    try:
        yield
    except (ValueError, OSError, ArithmeticError) as error:
        error.args = tuple(shown(each) if isinstance(each, str) else each for each in error.args)
        raise


def shown(text: object) -> str:
    """Text for users, with addresses in the place of the local paths that stand for them."""
    text = str(text)
    for place, address in tuple(_STAND_INS.items()):  # other threads may add theirs
        text = text.replace(str(place), address)
    return text
