"""The orientation that a graph finds is the one that Pillow finds, for every way of stating it."""

import io
import random
import struct
import zlib

import pytest
import tensorflow as tf
from PIL import Image

from keras_nest.data.orientation import orientation_in_graph, read_orientation
from tests.data.photographs import encoded, small

EXIF, XMP = b"Exif\0\0", b"http://ns.adobe.com/xap/1.0/\0"
ORIENTATIONS = range(10)
ENDS = "<>"


@pytest.fixture(scope="module")
def found():
    """The function as an exported graph holds it."""
    return tf.function(orientation_in_graph, input_signature=[tf.TensorSpec((), tf.string)], autograph=False)


def tiff(orientation, end="<", kind=3, count=1, before=()):
    """EXIF data: a header and one directory."""
    entries = [*before, (0x0112, kind, count, orientation)]
    content = b"".join(
        struct.pack(f"{end}HHL", *entry[:3]) + struct.pack(end + ("H2x" if entry[1] in (3, 8) else "L"), entry[3])
        for entry in entries
    )
    head = (b"II*\0" if end == "<" else b"MM\0*") + struct.pack(f"{end}LH", 8, len(entries))
    return head + content + bytes(4)


def segment(content, marker=0xE1):
    return bytes([0xFF, marker]) + struct.pack(">H", len(content) + 2) + content


def jpeg(*segments):
    file = encoded(small("chelsea", (9, 7)), "JPEG")
    return file[:2] + b"".join(segments) + file[2:]


def chunk(kind, content):
    return struct.pack(">L", len(content)) + kind + content + struct.pack(">L", zlib.crc32(kind + content))


def png(*chunks, at_end=False):
    file = encoded(small("chelsea", (9, 7)))
    place = len(file) - 12 if at_end else 33
    return file[:place] + b"".join(chunks) + file[place:]


def profile(data):
    """EXIF data in hexadecimal, as ImageMagick writes them."""
    digits = (EXIF + data).hex()
    lines = [digits[place : place + 72] for place in range(0, len(digits), 72)]
    return "\n".join(["", "exif", f"{len(EXIF + data):8}", *lines, ""]).encode()


def in_xmp(orientation):
    return [b'<x tiff:Orientation="%d"/>' % orientation, b"<tiff:Orientation>%d</tiff:Orientation>" % orientation]


FILES = {
    "Pillow's JPEG": lambda o, end: encoded(small("chelsea", (9, 7)), "JPEG", o),
    "progressive": lambda o, end: encoded(small("chelsea", (9, 7)), "JPEG", o, progressive=True),
    "Pillow's PNG": lambda o, end: encoded(small("chelsea", (9, 7)), "PNG", o),
    "gray": lambda o, end: encoded(small("chelsea", (9, 7)).convert("L"), "PNG", o),
    "JPEG": lambda o, end: jpeg(segment(EXIF + tiff(o, end))),
    "long": lambda o, end: jpeg(segment(EXIF + tiff(o, end, kind=4))),
    "two values": lambda o, end: jpeg(segment(EXIF + tiff(o, end, count=2))),
    "text": lambda o, end: jpeg(segment(EXIF + tiff(o, end, kind=2))),
    "unknown type": lambda o, end: jpeg(segment(EXIF + tiff(o, end, kind=77))),
    "first of two": lambda o, end: jpeg(segment(EXIF + tiff(3, end, before=[(0x0100, 3, 1, 9), (0x0112, 3, 1, o)]))),
    "in two segments": lambda o, end: jpeg(segment(EXIF + tiff(o, end)[:20]), segment(EXIF + tiff(o, end)[20:])),
    "behind a profile": lambda o, end: jpeg(segment(b"ICC_PROFILE\0\1\1" + bytes(60_000), 0xE2), b"\xff\xff",
                                           segment(b"text", 0xFE), segment(EXIF + tiff(o, end))),
    "before XMP": lambda o, end: jpeg(segment(XMP + in_xmp(5)[0]), segment(EXIF + tiff(o, end))),
    "XMP attribute": lambda o, end: jpeg(segment(XMP + in_xmp(o)[0])),
    "XMP element": lambda o, end: jpeg(segment(XMP + in_xmp(o)[1]), segment(EXIF + tiff(9, end)[:10])),
    "XMP beside nonsense": lambda o, end: jpeg(segment(XMP + in_xmp(o)[1]), segment(EXIF + b"nonsense")),
    "eXIf": lambda o, end: png(chunk(b"eXIf", tiff(o, end))),
    "eXIf at the end": lambda o, end: png(chunk(b"eXIf", tiff(o, end)), at_end=True),
    "eXIf with a name": lambda o, end: png(chunk(b"eXIf", EXIF + tiff(o, end))),
    "zTXt": lambda o, end: png(chunk(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(profile(tiff(o, end))))),
    "tEXt": lambda o, end: png(chunk(b"tEXt", b"Raw profile type exif\0" + profile(tiff(o, end)))),
    "iTXt": lambda o, end: png(chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + in_xmp(o)[0])),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore")  # of Pillow, about data that end too early
@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("kind", FILES)
def test_every_way_of_stating_it(found, kind, end):
    files = [FILES[kind](orientation, end) for orientation in ORIENTATIONS]
    expected = [read_orientation(file) for file in files]
    assert [int(found(file)) for file in files] == expected
    assert kind in ("text", "unknown type", "XMP beside nonsense") or expected == [1, *range(1, 9), 1]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("end", ENDS)
def test_data_that_are_cut_off(found, end):
    for length in range(len(tiff(6, end))):
        file = jpeg(segment(EXIF + tiff(6, end)[:length]))
        assert int(found(file)) == read_orientation(file)


@pytest.mark.parametrize(
    "file", [b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"no image", encoded(small("coffee"), "GIF")]
)
def test_nothing_is_stated(found, file):
    assert int(found(file)) == 1


@pytest.mark.filterwarnings("ignore")
def test_damaged_data(found):
    """Wherever Pillow still opens the file."""
    rng, tried = random.Random(0), 0
    whole = jpeg(segment(EXIF + tiff(6, before=[(0x0100, 3, 1, 9)]))), png(chunk(b"eXIf", tiff(8, ">")))
    for number in range(200):
        file = bytearray(whole[number % 2])
        file[rng.randrange(2, 75)] = rng.randrange(256)
        try:
            Image.open(io.BytesIO(file)).load()
        except Exception:
            continue
        tried += 1
        assert int(found(bytes(file))) == read_orientation(bytes(file))
    assert tried > 80


def test_packed_text_is_not_unpacked_without_bounds(found):
    bomb = chunk(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(bytes(10**8)))
    assert len(bomb) > 2**16
    assert int(found(png(bomb, chunk(b"tEXt", b"Raw profile type exif\0" + profile(tiff(6)))))) == 6
