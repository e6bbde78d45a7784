"""Members of zip archives in which one goes back and forth."""

import io
import random
import zipfile

import pytest

from keras_nest.models import keras_file
from keras_nest.untrusted.archive import open_archive, seekable_member
from tests import families

CONTENT = random.Random(0).randbytes(50_000)


@pytest.fixture
def archive():
    """Members as they are and compressed, the first behind a header with more in it than its name."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as opened:
        member = zipfile.ZipInfo("first")
        member.extra = b"\xfe\xca\x04\x00more"
        opened.writestr(member, CONTENT)
        opened.writestr("größe", CONTENT[::-1])
        opened.writestr("packed", CONTENT, zipfile.ZIP_DEFLATED)
    return file


@pytest.mark.parametrize(("name", "expected"), [("first", CONTENT), ("größe", CONTENT[::-1]), ("packed", CONTENT)])
def test_any_part_of_a_member_can_be_read_at_any_time(archive, name, expected):
    drawn = random.Random(1)
    with open_archive(archive) as opened, seekable_member(archive, opened, name) as member:
        assert member.seek(0, io.SEEK_END) == len(expected)
        for _ in range(50):
            start, size = drawn.randrange(len(expected) + 10), drawn.randrange(20_000)
            member.seek(start)
            assert member.read(size) == expected[start : start + size]
            archive.seek(drawn.randrange(100))  # others read the file, too
        member.seek(-5, io.SEEK_END)
        assert member.read() == expected[-5:]


def test_a_header_that_is_none_is_told(archive):
    content = bytearray(archive.getvalue())
    content[:4] = b"none"
    file = io.BytesIO(content)
    with pytest.raises(ValueError, match="truncated or damaged"), open_archive(file) as opened:
        seekable_member(file, opened, "first")


def test_what_is_declared_is_read_once(tmp_path, monkeypatch):
    """`ZipFile.open` reads a member again from its beginning to go back: minutes for a file of a gigabyte."""
    families.vit(mlp_dim=20_000).save(tmp_path / "model.keras")
    read = 0

    class Counting(io.FileIO):
        def readinto(self, buffer):
            nonlocal read
            count = super().readinto(buffer)
            read += count
            return count

    monkeypatch.setattr(keras_file, "open", lambda path, mode: io.BufferedReader(Counting(path)), raising=False)
    keras_file._check_weights("model", tmp_path / "model.keras")
    assert 0 < read < (tmp_path / "model.keras").stat().st_size / 2
