"""How much a file may claim to hold."""

import os
from typing import BinaryIO

SPARE = 200_000_000
"""Bytes that reading a file may take beside twice its own."""


class ClaimError(ValueError):
    """A file claims to hold more than it can; the message goes on after its name."""


def check_claim(claimed: int, length: int) -> None:
    """Refuses a file that says it holds far more than it has bytes, before any memory is taken.

    Weights do not compress well: twice the file, and `SPARE` for small files of many zeros, is enough for real ones.

    Args:
        claimed: bytes that its content would take in memory.
        length: bytes of the file.

    Raises:
        ClaimError: see there.
    """
    if claimed > 2 * length + SPARE:
        raise ClaimError(f"its {length:,} bytes claim to hold {claimed:,}, which no file of weights does")


def length_of(file: BinaryIO) -> int:
    """Bytes of a file that can seek; it stands where it stood."""
    position = file.tell()
    length = file.seek(0, os.SEEK_END)
    file.seek(position)
    return length
