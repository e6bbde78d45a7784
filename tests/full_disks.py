"""Disks that take no more."""

import contextlib
import resource


@contextlib.contextmanager
def files_of_at_most(size):
    """No file can grow beyond so many bytes, whoever writes it, in Python or in C; as on a disk without room."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
