"""Damage to files: bytes and blocks anywhere, numbers in texts, and members of archives, whose sums then fit again."""

import io
import random
import zipfile

# What numbers and lengths are replaced by.
_WORDS = (
    *(b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\0\0\0\0", b"\x80\0\0\0", b"\xff\xff\xff\x7f"),
    *(b"\xff" * 8, b"\0" * 8),
)
_TOKENS = (
    *(b"-1", b"0", b"1e999", b"99999999999999999999", b"NaN", b"null", b"true", b'""', b'"\\u0000"', b"[]", b"{}"),
    *(b"[[[[", b"}", b",", b'"', b"\0", b"../", b"\xff\xfe", b"\r\n", b"<f8", b"|O8", b"<U9", b"\x1b[31m", b"=1+1"),
)


def mutated(seed: bytes, rng: random.Random) -> bytes:
    """A damaged copy of a file."""
    if seed[:2] == b"PK" and rng.random() < 0.7:
        return _archive(seed, rng)
    content = bytearray(seed)
    for _ in range(rng.choice((1, 1, 2, 4, 16))):
        _damage(content, rng)
    return bytes(content)


def _damage(content: bytearray, rng: random.Random) -> None:
    size = len(content)
    if not size:
        content += rng.randbytes(20)
        return
    # Half of the time near the front or the end, where the structure is.
    places = (rng.randrange(size), rng.randrange(min(size, 256)), size - 1 - rng.randrange(min(size, 1024)))
    at, other = rng.choice(places), rng.randrange(size)
    match rng.randrange(10):
        case 0:
            content[at] ^= 1 << rng.randrange(8)
        case 1:
            content[at] = rng.choice((0, 255, 127, 128, rng.randrange(256)))
        case 2:
            del content[at : at + rng.choice((1, 2, 8, 100, size))]
        case 3:
            content[at:at] = rng.randbytes(rng.choice((1, 4, 50)))
        case 4:
            word = rng.choice(_WORDS)
            content[at : at + len(word)] = word
        case 5:
            content[at:at] = content[other : other + rng.choice((4, 64, 1000))]
        case 6:
            del content[at:]
        case 7:
            content[at] = (content[at] + rng.choice((1, 255))) % 256
        case 8:
            content[at : at + rng.choice((0, 1, 3))] = rng.choice(_TOKENS)
        case _:
            _number(content, at, rng)


def _number(content: bytearray, at: int, rng: random.Random) -> None:
    """Replaces the next number that stands there in digits."""
    begin = next((k for k in range(at, len(content)) if chr(content[k]).isdigit()), len(content))
    end = next((k for k in range(begin, len(content)) if not chr(content[k]).isdigit()), len(content))
    content[begin:end] = rng.choice((*_TOKENS, b"1000000", b"3", b"2147483648"))


def _archive(seed: bytes, rng: random.Random) -> bytes:
    """The same with members damaged, renamed, doubled or left out."""
    with zipfile.ZipFile(io.BytesIO(seed)) as archive:
        members = [(info.filename, archive.read(info)) for info in archive.infolist()]
        comment, behind = archive.comment, seed[: min(info.header_offset for info in archive.infolist())]
    for _ in range(rng.choice((1, 1, 2))):
        k = rng.randrange(len(members))
        name, content = members[k]
        match rng.randrange(8):
            case 0:
                members.append((name, content))
            case 1:
                members[k] = rng.choice((f"../{name}", "", f"/{name}", f"{name}\x1b", name.upper())), content
            case 2 if len(members) > 1:
                del members[k]
            case _:
                members[k] = name, mutated(content, rng)
    file = io.BytesIO(behind)
    with zipfile.ZipFile(file, "a", rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))) as archive:
        for name, content in members:
            archive.writestr(zipfile.ZipInfo(name), content)
        archive.comment = comment
    return file.getvalue()
