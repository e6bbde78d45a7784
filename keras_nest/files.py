"""Outputs that are complete or absent, also after a loss of power."""

import argparse
import contextlib
import errno
import glob
import os
import pathlib
import re
import shutil
import uuid
from collections.abc import Iterable, Iterator

_OF_DISKS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)
PARTIAL = ".partial-"
"""Begins the name of what is being written."""
_PARTIAL_NAME = rf"{re.escape(PARTIAL)}[0-9a-f]{{8}}-"
# Ends the name of what Orbax writes beside and then renames.
_OF_ORBAX = "-checkpoint-tmp"
# As "gs://bucket/x", or "gs:/bucket/x" where a path object has taken one of the two slashes. One letter is a drive of
# Windows.
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")


def is_address(path: str | os.PathLike[str]) -> bool:
    """Whether a path is an address such as gs://…, and none of this machine."""
    return bool(_ADDRESS.match(os.fspath(path)))


def check_local(path: str | os.PathLike[str]) -> None:
    """Refuses an address such as gs://…, which would become a directory named "gs:".

    Raises:
        ValueError: it is one.
    """
    if is_address(path):
        raise ValueError(
            f"{os.fspath(path)} is an address and no path of this machine; give a path here, and copy from or to the "
            "address yourself."
        )


def local_path(text: str) -> pathlib.Path:
    """The type of an argument of a command line that is a path of this machine.

    Raises:
        argparse.ArgumentTypeError: it is an address.
    """
    try:
        check_local(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return pathlib.Path(text)


def cache_folder() -> pathlib.Path:
    """Where things are kept that can be made again: $KERAS_NEST_CACHE, or keras-nest in the cache of the user.

    Raises:
        ValueError: $KERAS_NEST_CACHE is an address such as gs://….
    """
    if folder := os.environ.get("KERAS_NEST_CACHE"):
        check_local(folder)
        return pathlib.Path(folder)
    return pathlib.Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "keras-nest")


@contextlib.contextmanager
def atomic_output(path: str | pathlib.Path, overwrite: bool = False) -> Iterator[pathlib.Path]:
    """Writes a file or directory beside its place and renames it into place at the end, once it is on the disk.

    >>> with atomic_output("model.keras") as partial:
    ...     model.save(partial)

    Args:
        path: where the output shall lie; missing parent directories are created.
        overwrite: replace what lies there.

    Yields:
        A path in the same directory, with the same suffixes, where nothing lies yet. If the block raises, it is
        removed and `path` is left as it was.

    Raises:
        ValueError: `path` is an address such as gs://….
        FileExistsError: something lies at `path` and `overwrite` is false.
        IsADirectoryError: a file would replace a directory.
        PermissionError: the directory cannot be written to.
        OSError: the disk takes no more; directories that were made for it are removed, too.
    """
    check_local(path)
    path = pathlib.Path(path)
    if path.exists() and not overwrite:
        raise FileExistsError(f"{path} exists already; pass overwrite=True (--overwrite) to replace it.")
    missing = [folder for folder in (path.parent, *path.parent.parents) if not folder.exists()]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f"{PARTIAL}{uuid.uuid4().hex[:8]}-{path.name}")
        partial.touch()
        partial.unlink()
    except OSError as error:
        raise PermissionError(f"{path.parent} cannot be written to: {error.strerror}.") from error
    try:
        with telling_of_disk(path):
            yield partial
            flush(partial, *partial.rglob("*"))
            _move_into_place(partial, path)
            flush(path.parent, *(folder.parent for folder in missing))
    finally:
        remove(partial)
        for beside in path.parent.glob(f"{glob.escape(partial.name)}*{_OF_ORBAX}"):
            remove(beside)
        if not path.exists():
            _remove_empty(missing)


@contextlib.contextmanager
def telling_of_disk(path: object) -> Iterator[None]:
    """Tells in a sentence that a disk takes no more, whoever says so of what the block writes.

    Args:
        path: what is written, for the message.

    Raises:
        OSError: see above.
    """
    try:
        yield
    except Exception as error:
        # Libraries in C have the number or the words of the system somewhere in theirs.
        known = {os.strerror(number): number for number in _OF_DISKS}
        found = (text for text, number in known.items() if getattr(error, "errno", 0) == number or text in str(error))
        reason = next(found, None)
        if reason is None or (isinstance(error, OSError) and error.errno is None):
            raise
        # Of an output inside of another, what will be its name.
        raise OSError(f"{re.sub(_PARTIAL_NAME, '', str(path))} cannot be written: {reason}.") from error


def _remove_empty(folders: Iterable[pathlib.Path]) -> None:
    """Removes directories, the innermost first, in which nothing lies."""
    with contextlib.suppress(OSError):
        for folder in folders:
            folder.rmdir()


def flush(*paths: pathlib.Path) -> None:
    """Returns when files, or the entries of directories, are on the disk, where a loss of power leaves them.

    Raises:
        OSError: the disk does not take a file.
    """
    for path in filter(pathlib.Path.exists, paths):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        except OSError:
            # Not every file system can do that to a directory.
            if not path.is_dir():
                raise
        finally:
            os.close(descriptor)


def remove_partial(directory: str | pathlib.Path, pattern: str = f"{PARTIAL}*") -> None:
    """Removes what processes that were killed left half-written in a directory; none may be at work there.

    Args:
        directory: where; it need not exist.
        pattern: of the names, by default those of an `atomic_output`.
    """
    for partial in pathlib.Path(directory).glob(pattern):
        remove(partial)


def remove(path: pathlib.Path) -> None:
    """Removes a file, a link, or a directory with all that is in it; nothing if it is not there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _move_into_place(partial: pathlib.Path, path: pathlib.Path) -> None:
    """Renames; what lay at `path` goes only once the new output is there."""
    if path.is_dir() and partial.is_file():
        raise IsADirectoryError(f"{path} is a directory; it is not replaced by a file, so give another name.")
    if not (path.is_dir() or (path.exists() and partial.is_dir())):
        partial.replace(path)
        return
    # Directories cannot be replaced in one step.
    old = path.rename(partial.with_name(f"{partial.name}.old"))
    try:
        partial.rename(path)
    except OSError:
        old.rename(path)
        raise
    remove(old)
