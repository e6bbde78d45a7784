"""One training at a time in a directory."""

import contextlib
import fcntl
import os
import pathlib
import socket
import time
from collections.abc import Iterator

from keras_nest.files import telling_of_disk
from keras_nest.training.lease import FILE, InUseError, leased

__all__ = ["FILE", "InUseError", "locked"]


@contextlib.contextmanager
def locked(directory: pathlib.Path) -> Iterator[None]:
    """Keeps other processes and threads out of a directory while the block runs.

    The lock is the kernel's, on a file that says whose it is: it ends with its process, however that ends. What a
    killed one left is told and taken over.

    Args:
        directory: made if it is not there; one that stands for an address is kept on all machines, see `leased`.

    Raises:
        InUseError: another one is at work there, on this machine or on one that shares the directory.
        PermissionError: the directory cannot be written to.
        OSError: the disk takes no more.
    """
    path = directory / FILE
    descriptor = _take(path)
    try:
        with telling_of_disk(directory):
            _sign(descriptor, directory)
        with leased(directory):
            yield
    finally:
        # Before others can have it: who has opened it already sees that it is gone.
        path.unlink(missing_ok=True)
        os.close(descriptor)


def _take(path: pathlib.Path) -> int:
    """The open file, locked."""
    while True:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as error:
            raise PermissionError(f"{path.parent} cannot be written to: {error.strerror}.") from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = _owner(descriptor) or "another process"
            os.close(descriptor)
            raise InUseError(
                f"{path.parent} is in use: a training is at work there ({owner}); wait for its end, end it, or choose "
                "another --workdir."
            ) from None
        except OSError as error:
            print(f"{path.parent} cannot be locked ({error.strerror}); start no other training there.", flush=True)
            return descriptor
        # The one that had it may have removed it meanwhile.
        if path.exists() and os.path.samestat(os.fstat(descriptor), path.stat()):
            return descriptor
        os.close(descriptor)


def _sign(descriptor: int, directory: pathlib.Path) -> None:
    if owner := _owner(descriptor):
        print(f"The training that was at work in {directory} ({owner}) did not end in order; taken over.", flush=True)
    os.ftruncate(descriptor, 0)
    signature = f"process {os.getpid()} on {socket.gethostname()}, since {time.strftime('%Y-%m-%d %H:%M:%S')}"
    os.pwrite(descriptor, signature.encode(), 0)


def _owner(descriptor: int) -> str:
    return os.pread(descriptor, 1000, 0).decode("utf-8", "replace")
