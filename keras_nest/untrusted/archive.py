"""Zip archives: what one lists is looked at before anything of it is unpacked."""

import contextlib
import io
import re
import struct
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO

from keras_nest.untrusted.limits import check_claim, length_of
from keras_nest.untrusted.tensors import check_names

# What `zipfile` raises about broken archives; the last are those of places before the beginning of the file.
_DAMAGED = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, struct.error, UnicodeError)
_COMPRESSIONS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
# Of the list of members, from which `zipfile` makes ten times as many: 100,000 members of usual names.
_MAX_DIRECTORY = 10_000_000
# Where an archive ends, as a small one and as one of more than 4 GiB: signature, and how far behind it what number says
# how long the list of its members is.
_ENDS = ((re.compile(rb"PK\x05\x06"), 12, "<L"), (re.compile(rb"PK\x06\x06"), 40, "<Q"))
_TAIL = 2**16 + 22 + 20 + 56
_UNTOLD = 2**32 - 1  # the other end has it
# What stands before a member: the lengths of its name and of what follows that come last.
_HEADER = "<26xHH"


@contextlib.contextmanager
def open_archive(file: BinaryIO) -> Iterator[zipfile.ZipFile]:
    """A zip archive whose members may all be read: together they take no more memory than `check_claim` allows.

    Args:
        file: that can seek.

    Raises:
        ValueError: damaged, encrypted, or claims more than it can hold; the message goes on after the name of the file.
            Also where that shows in the block, of a member that is read.
    """
    try:
        length = length_of(file)
        _check_directory(file, length)
        with zipfile.ZipFile(file) as archive:
            _check_members(archive.infolist(), length)
            yield archive
    except _DAMAGED as error:
        raise ValueError(f"it is truncated or damaged ({error})") from None


def seekable_member(file: BinaryIO, archive: zipfile.ZipFile, name: str) -> BinaryIO:
    """A member to go back and forth in, which `ZipFile.open` does by reading it again from its beginning.

    Args:
        file: that the archive was opened from.
        archive: from `open_archive`.
        name: of the member; one that is compressed is read whole.

    Raises:
        BadZipFile: it is damaged.
    """
    member = archive.getinfo(name)
    if member.compress_type != zipfile.ZIP_STORED:
        return io.BytesIO(archive.read(member))
    archive.open(member).close()  # looks at its header
    file.seek(member.header_offset)
    lengths = struct.unpack(_HEADER, file.read(struct.calcsize(_HEADER)))
    return io.BufferedReader(_Part(file, file.tell() + sum(lengths), member.file_size))


class _Part(io.RawIOBase):
    """Some bytes of a file, as a file."""

    def __init__(self, file: BinaryIO, start: int, size: int) -> None:
        super().__init__()
        self._file, self._start, self._size, self._position = file, start, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._position = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        return self._position

    def readinto(self, buffer: Any) -> int:
        self._file.seek(self._start + self._position)
        content = self._file.read(max(0, min(len(buffer), self._size - self._position)))
        buffer[: len(content)] = content
        self._position += len(content)
        return len(content)


def _check_directory(file: BinaryIO, length: int) -> None:
    """Refuses a list of members that takes too much memory to be read."""
    file.seek(max(0, length - _TAIL))
    tail = file.read(_TAIL)
    for signature, behind, number in _ENDS:
        for found in signature.finditer(tail):
            field = tail[found.start() + behind :][: struct.calcsize(number)]
            size = struct.unpack(number, field)[0] if len(field) == struct.calcsize(number) else 0
            if _MAX_DIRECTORY < size != _UNTOLD:
                raise ValueError(f"it lists members in {size:,} bytes; {_MAX_DIRECTORY:,} are read")
    file.seek(0)


def _check_members(members: Sequence[zipfile.ZipInfo], length: int) -> None:
    for member in members:
        if member.flag_bits & 1:
            raise ValueError(f"{member.filename!r} in it is encrypted")
        if member.compress_type not in _COMPRESSIONS:
            raise ValueError(f"{member.filename!r} in it is compressed in another way than zip archives commonly are")
        if not 0 <= member.header_offset < length or member.compress_size > length:
            raise ValueError(f"it is truncated or damaged: {member.filename!r} does not lie in it")
    check_names(member.filename.removesuffix("/") for member in members)
    check_claim(sum(member.file_size for member in members), length)
