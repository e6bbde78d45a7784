"""EXIF orientation of an image file: how its pixels are to be turned, in Python and inside a graph.

TensorFlow decodes images without turning them, and has no operation for EXIF data.
"""

import io
from collections.abc import Sequence

import tensorflow as tf
from PIL import ExifTags, Image

UPRIGHT = 1
"""The orientation, counted as EXIF does, of an image that need not be turned."""

# More parts than any encoder writes, and more of packed text than EXIF data take: what a hostile file may cost.
_MAX_PARTS, _MAX_PACKED = 2**14, 2**16
_TAG = 0x0112
# Types of whole numbers, by their size; and the size of every type, 0 where there is none.
_INTEGERS = {1: (6,), 2: (3, 8), 4: (4, 9, 13)}
_SIZES = (0, 1, 1, 2, 4, 8, 1, 1, 2, 4, 8, 4, 8, 4, 0, 0, 8, 0)
_EXIF, _XMP = b"Exif\0\0", b"http://ns.adobe.com/xap/1.0/\0"
_PNG, _RAW_PROFILE, _XMP_TEXT = b"\x89PNG\r\n\x1a\n", b"Raw profile type exif\0", b"XML:com.adobe.xmp\0\0\0\0\0"


def read_orientation(encoded: bytes) -> int:
    """Orientation that the EXIF data of an image file states.

    Args:
        encoded: content of the file, as `image_files.decodable` makes it.

    Returns:
        1 (upright, also where nothing or nonsense is stated) to 8.
    """
    try:
        with Image.open(io.BytesIO(encoded)) as image:
            orientation = image.getexif().get(ExifTags.Base.Orientation, UPRIGHT)
    except Exception:  # what Pillow raises about bad EXIF data is not listed anywhere
        return UPRIGHT
    return int(orientation) if orientation in range(1, 9) else UPRIGHT


def orientation_in_graph(encoded: tf.Tensor) -> tf.Tensor:
    """`read_orientation` in operations: from the EXIF data or, where they do not say it, from the XMP data.

    Sources: CIPA DC-008 (EXIF 3.0), 4.5 and 4.7; PNG, third edition, 11.3; Adobe's XMP specification, part 3.

    Args:
        encoded: content of an image file, a string scalar.

    Returns:
        int32 scalar, 1 (upright, also where nothing or nonsense is stated, and of other files than JPEG and PNG) to 8.
    """
    exif, xmp = tf.cond(tf.io.is_jpeg(encoded), lambda: _of_jpeg(encoded), lambda: _of_png(encoded))
    stated = _in_exif(exif)
    found = tf.where(stated >= 0, stated, _in_xmp(xmp))
    return tf.where((found >= 1) & (found <= 8), found, UPRIGHT)


def _of_jpeg(encoded: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """EXIF data, int32 bytes (N,), joined where several segments hold them, and XMP data, before the first scan."""
    size = tf.strings.length(encoded)

    def step(place: tf.Tensor, exif: tf.Tensor, xmp: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        prefix, kind, high, low = tf.unstack(_bytes(tf.strings.substr(encoded, place, 4)), 4)
        # Filling, and markers without content.
        is_alone = (kind <= 1) | ((kind >= 0xD0) & (kind <= 0xD9))
        step_over = tf.where((prefix != 0xFF) | (kind == 0xFF), 1, tf.where(is_alone, 2, 2 + 256 * high + low))
        is_app1, is_scan = (prefix == 0xFF) & (kind == 0xE1), (prefix == 0xFF) & (kind == 0xDA)
        content = tf.strings.substr(encoded, place + 4, tf.where(is_app1, tf.maximum(step_over - 4, 0), 0))
        place = tf.where(is_scan, size, place + step_over)
        return place, exif + _after(content, _EXIF), _last(xmp, _after(content, _XMP))

    start = tf.constant(0), tf.constant(b""), tf.constant(b"")
    _, exif, xmp = tf.while_loop(lambda place, *_: place + 4 <= size, step, start, maximum_iterations=_MAX_PARTS)
    return _bytes(exif), xmp


def _of_png(encoded: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """EXIF data, int32 bytes (N,), of their chunk or as ImageMagick writes them; and XMP data."""
    size = tf.strings.length(encoded)

    def step(place: tf.Tensor, *found: tf.Tensor) -> tuple[tf.Tensor, ...]:
        length = tf.cast(tf.minimum(_unsigned(_bytes(tf.strings.substr(encoded, place, 4)), True), 2**30), tf.int32)
        kind = tf.strings.substr(encoded, place + 4, 4)

        def read() -> tuple[tf.Tensor, ...]:
            content = tf.strings.substr(encoded, place + 8, length)
            chunks = (
                content,
                _unpacked(_after(tf.where(kind == b"zTXt", content, b""), _RAW_PROFILE)),
                _after(content, _RAW_PROFILE),
                _after(content, _XMP_TEXT),
            )
            kinds = (b"eXIf", b"zTXt", b"tEXt", b"iTXt")
            exif, packed, plain, xmp = (tf.where(kind == name, x, b"") for name, x in zip(kinds, chunks, strict=True))
            return tuple(_last(*pair) for pair in zip(found, (exif, packed + plain, xmp), strict=True))

        return place + tf.minimum(12 + length, size - place), *tf.cond(kind == b"IDAT", lambda: found, read)

    start = tf.where(tf.strings.substr(encoded, 0, len(_PNG)) == _PNG, len(_PNG), size), *[tf.constant(b"")] * 3
    _, exif, raw, xmp = tf.while_loop(lambda place, *_: place + 12 <= size, step, start, maximum_iterations=_MAX_PARTS)
    return tf.cond(exif == b"", lambda: _from_hex(raw), lambda: _bytes(exif)), xmp


def _in_exif(exif: tf.Tensor) -> tf.Tensor:
    """What the first directory says, 0 for nonsense, or -1: a header, and entries of tag, type, count and value."""
    is_prefixed = _begins(exif, _EXIF)
    exif = exif[tf.where(is_prefixed, len(_EXIF), 0) :]
    size = tf.size(exif, tf.int64)
    is_big = _begins(exif, b"MM\0*") | _begins(exif, b"MM*\0")
    is_tiff = is_big | _begins(exif, b"II*\0") | _begins(exif, b"II\0*")
    start = _unsigned(_padded(exif[4:8], 4), is_big)
    directory = _padded(exif[tf.minimum(start, size) :], 2)
    count = tf.minimum(_unsigned(directory[:2], is_big), (tf.size(directory, tf.int64) - 2) // 12)
    entries = tf.reshape(directory[2 : 2 + 12 * count], [-1, 12])
    tags, kinds, counts = (_unsigned(entries[:, a:b], is_big) for a, b in ((0, 2), (2, 4), (4, 8)))
    sizes = counts * tf.gather(tf.constant(_SIZES, tf.int64), tf.minimum(kinds, len(_SIZES) - 1))
    # More than four bytes lie elsewhere, or are missing; so much says nothing that has a meaning.
    is_there = (sizes > 0) & ((sizes <= 4) | (_unsigned(entries[:, 8:12], is_big) + sizes <= size))
    values = tf.zeros_like(tags)
    for width, known in _INTEGERS.items():
        values = tf.where(_is_one_of(kinds, known), _unsigned(entries[:, 8 : 8 + width], is_big), values)
    stated = tf.boolean_mask(tf.where((sizes <= 4) & (values <= 8), values, 0), (tags == _TAG) & is_there)
    first = tf.cast(tf.concat([stated, tf.constant([-1], tf.int64)], 0)[0], tf.int32)
    return tf.where(size == 0, -1, tf.where(is_tiff, first, 0))


def _in_xmp(xmp: tf.Tensor) -> tf.Tensor:
    """What `tiff:Orientation="N"` or `<tiff:Orientation>N<` says, or 0."""
    behind = tf.strings.substr(tf.strings.split(xmp, "tiff:Orientation")[1:], 0, 3)
    digits = tf.strings.regex_replace(behind, r'^(?:="|>)([0-9]).?', r"\1")
    digits = tf.boolean_mask(digits, tf.strings.regex_full_match(digits, "[0-9]"))
    return tf.strings.to_number(tf.concat([digits, ["0"]], 0)[0], tf.int32)


def _from_hex(text: tf.Tensor) -> tf.Tensor:
    """int32 bytes that stand in hexadecimal digits behind three lines (nothing, name, length)."""
    digits = _bytes(tf.strings.lower(tf.strings.reduce_join(tf.strings.split(text, "\n")[3:])))
    values = tf.where(digits >= ord("a"), digits - ord("a") + 10, digits - ord("0"))
    pairs = tf.reshape(values[: tf.size(values) // 2 * 2], [-1, 2])
    return 16 * pairs[:, 0] + pairs[:, 1]


def _unpacked(packed: tf.Tensor) -> tf.Tensor:
    """Text behind the byte of its method, or nothing; `tf.cond` keeps large ones from being touched."""
    fits = (tf.strings.length(packed) > 1) & (tf.strings.length(packed) <= _MAX_PACKED)
    unpack = lambda: tf.io.decode_compressed(tf.strings.substr(packed, 1, _MAX_PACKED), "ZLIB")  # noqa: E731
    return tf.cond(fits, unpack, lambda: tf.constant(b""))


def _bytes(text: tf.Tensor) -> tf.Tensor:
    """int32 (N,)."""
    return tf.cast(tf.io.decode_raw(text, tf.uint8), tf.int32)


def _begins(data: tf.Tensor, start: bytes) -> tf.Tensor:
    return tf.reduce_all(_padded(data, len(start))[: len(start)] == list(start))


def _after(text: tf.Tensor, start: bytes) -> tf.Tensor:
    """What follows a beginning, or nothing where the text begins in another way."""
    is_there = tf.strings.substr(text, 0, len(start)) == start
    return tf.where(is_there, tf.strings.substr(text, tf.where(is_there, len(start), 0), 2**30), b"")


def _last(before: tf.Tensor, found: tf.Tensor) -> tf.Tensor:
    return tf.where(found == b"", before, found)


def _padded(data: tf.Tensor, length: int) -> tf.Tensor:
    return tf.pad(data, [[0, tf.maximum(0, length - tf.size(data))]])


def _unsigned(data: tf.Tensor, is_big_endian: tf.Tensor | bool) -> tf.Tensor:
    """Bytes (…, n) as int64 numbers (…)."""
    powers = tf.constant([256**place for place in range(4)], tf.int64)[: tf.shape(data)[-1]]
    powers = tf.where(is_big_endian, powers[::-1], powers)
    return tf.reduce_sum(tf.cast(data, tf.int64) * powers, -1)


def _is_one_of(values: tf.Tensor, known: Sequence[int]) -> tf.Tensor:
    return tf.reduce_any(values[:, None] == tf.constant(known, values.dtype), -1)
