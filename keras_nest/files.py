"""Outputs that are complete or absent, also after a loss of power."""

import argparse
import contextlib
import errno
import fcntl
import glob
import os
import pathlib
import re
import shutil
import stat
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

    What processes that were killed left of the same output is removed; what they had put aside to replace is put back.

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
    _take_up(path)
    if path.exists() and not overwrite:
        raise FileExistsError(f"{path} exists already; pass overwrite=True (--overwrite) to replace it.")
    missing = [folder for folder in (path.parent, *path.parent.parents) if not folder.exists()]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f"{PARTIAL}{uuid.uuid4().hex[:8]}-{path.name}")
        lock = _hold(_lock_of(partial))
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
        remove(_lock_of(partial))
        os.close(lock)
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


def check_regular(path: str | os.PathLike[str]) -> None:
    """Refuses what may take for ever to be read, or has no end.

    Raises:
        ValueError: it is a pipe, a device or a socket.
        OSError: there is no such file, or the way there is closed.
    """
    mode = os.stat(path).st_mode
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise ValueError(f"{os.path.basename(path)} is a pipe or a device, and must be a file")


class ChangedError(ValueError):
    """A file was changed while it was read."""


@contextlib.contextmanager
def unchanged(path: str | os.PathLike[str]) -> Iterator[None]:
    """Refuses what the block read of a file that was replaced, or written to, meanwhile: it may be half of each.

    Raises:
        ChangedError: see above; whatever the block raised then, too.
    """
    before = _state(path)
    try:
        yield
    except Exception:
        _check_state(path, before)
        raise
    _check_state(path, before)


def _state(path: str | os.PathLike[str]) -> tuple[int, ...]:
    """What is another for another content; of what is not there, nothing."""
    try:
        found = os.stat(path)
    except OSError:
        return ()
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def _check_state(path: str | os.PathLike[str], before: tuple[int, ...]) -> None:
    if _state(path) != before:
        raise ChangedError(f"{os.fspath(path)} was changed while it was read; try again.") from None


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


def _take_up(path: pathlib.Path) -> None:
    """Removes what killed processes left half-written of an output, and puts back what one had put aside."""
    left = re.compile(rf"({re.escape(PARTIAL)}[0-9a-f]{{8}}-{re.escape(path.name)})(\.old|\.lock)?")
    try:
        names = [name for name in os.listdir(path.parent) if name.startswith(PARTIAL)]
    except OSError:
        return
    for name in {match[1] for name in names if (match := left.fullmatch(name))}:
        partial = path.with_name(name)
        # One that is held is being written, and in a directory that cannot be written to nothing is.
        with contextlib.suppress(OSError), open(_lock_of(partial), "a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _aside(partial).exists() and not path.exists():
                _aside(partial).rename(path)
            for rest in (partial, _aside(partial), _lock_of(partial)):
                remove(rest)


def _lock_of(partial: pathlib.Path) -> pathlib.Path:
    """The file that whoever writes an output holds, so that others see that it is alive."""
    return partial.with_name(f"{partial.name}.lock")


def _aside(partial: pathlib.Path) -> pathlib.Path:
    """Where an output lies while the new one takes its place."""
    return partial.with_name(f"{partial.name}.old")


def _hold(lock: pathlib.Path) -> int:
    """Makes a file that is locked from the moment that it is there; its descriptor.

    Raises:
        OSError: it cannot be made.
    """
    fresh = lock.with_name(f"{lock.name}.new")
    descriptor = os.open(fresh, os.O_RDWR | os.O_CREAT, 0o666)
    # Not every file system has locks, and there nothing is taken up.
    with contextlib.suppress(OSError):
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    os.rename(fresh, lock)
    return descriptor


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
    old = path.rename(_aside(partial))
    try:
        partial.rename(path)
    except OSError:
        old.rename(path)
        raise
    remove(old)
