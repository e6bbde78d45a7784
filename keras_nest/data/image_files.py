"""Which files are images, and their content as TensorFlow decodes it: the one place that lists formats and limits."""

import collections
import io
import os
import re
import stat
from collections.abc import Callable, Iterable
from typing import TypeAlias

import numpy as np
import tensorflow as tf
from PIL import Image, ImageOps, features

from keras_nest import buckets
from keras_nest.files import is_address
from keras_nest.optional import install_command

try:
    import pillow_heif
except ModuleNotFoundError:
    _HAS_HEIC = False
else:
    pillow_heif.register_heif_opener()
    _HAS_HEIC = True

# The last depend on how Pillow was built, and on a package of its own.
_AVIF, _HEIC = (".avif",) if features.check("avif") else (), (".heic", ".heif") if _HAS_HEIC else ()
SUFFIXES = (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".gif", ".bmp", ".tif", ".tiff", ".webp", *_AVIF, *_HEIC)
"""Of the files that are taken for images, in lower case; what a file is, its content decides."""

MAX_PIXELS = 2**30 // 12
"""Of an image, everywhere: as float32 with three channels it takes 1 GiB. It is Pillow's own limit, too."""

Convert: TypeAlias = Callable[[bytes], bytes]
"""Content of an image file -> what `decodable` makes of it."""

BROKEN_FILE = "cannot be read as an image; it must be a complete JPEG, PNG, GIF, BMP, TIFF, WebP or AVIF file."
"""What is wrong with a file that cannot be decoded, without the file."""

_MAX_BYTES = 8 * MAX_PIXELS  # four channels of 16 bits, not compressed
# What TensorFlow decodes as everybody does; it ignores the palette of a BMP file and the transparency of a GIF file.
# Pillow reads the others.
_BY_TENSORFLOW = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n")
_BY_PILLOW = ("GIF", "BMP", "TIFF", "WEBP", "AVIF", "HEIF")
# How those of telephones begin: HEIC, and what both it and AVIF may.
_HEIF_HEAD = re.compile(rb".{4}ftyp(?:he[iv][cmsx]|m[is]f1)", re.DOTALL)
# How the other formats begin: GIF, BMP, TIFF in both orders of bytes, WebP, AVIF.
_OTHER_HEADS = re.compile(rb"GIF8|BM|II\*\0|MM\0\*|RIFF.{4}WEBP|.{4}ftypavi[fs]|" + _HEIF_HEAD.pattern, re.DOTALL)
_HEAD = 16  # bytes in which that stands
# Written by systems beside the photographs of people; the first two hold small copies of them.
_CLUTTER = ("@eadir", "__macosx", "thumbs.db", "ehthumbs.db", "desktop.ini", "lost+found")


def is_image(name: str) -> bool:
    """Whether a file is an image by its name."""
    return name.lower().endswith(SUFFIXES) and not is_clutter(name)


def begins_as_image(path: str | os.PathLike[str]) -> bool:
    """Whether a file begins as those of a format that is read, whatever its name says.

    Args:
        path: local, or an address.

    Raises:
        OSError: it cannot be read.
    """
    if is_address(path):
        return _is_head(b"".join(buckets.read(os.fspath(path), 0, _HEAD)))
    if not stat.S_ISREG(os.stat(path).st_mode):
        return False
    with open(path, "rb") as file:
        return _is_head(file.read(_HEAD))


def _is_head(head: bytes) -> bool:
    return head.startswith(_BY_TENSORFLOW) or bool(_OTHER_HEADS.match(head))


def is_clutter(name: str) -> bool:
    """Whether a file or folder is hidden, or one that a system made for itself."""
    return name.startswith(".") or name.lower() in _CLUTTER


def count_kinds(names: Iterable[str]) -> str:
    """How many files of which kind some are, folders ending in a slash: "2 .heic, 1 folder"."""
    counts = collections.Counter(_kind(name) for name in names)
    return ", ".join(f"{count:,} {kind}" for kind, count in sorted(counts.items()))


def _kind(name: str) -> str:
    return "folder" if name.endswith("/") else os.path.splitext(name)[1].lower() or "without suffix"


def too_large(height: object, width: object) -> str:
    """What is wrong with an image of more than `MAX_PIXELS`, without the image."""
    return f"has {height} x {width} pixels; an image may have {MAX_PIXELS} in all."


def read_encoded(path: str | os.PathLike[str]) -> bytes:
    """Content of an image file, as `decodable` makes it.

    Args:
        path: local, or any that `tf.io.gfile` opens.

    Raises:
        ValueError: it is no image, too large, or no file but a pipe or device; the message lacks the path.
        OSError: it cannot be read.
    """
    name = os.fspath(path)
    if is_address(name):
        return decodable(b"".join(buckets.read(name)))
    status = os.stat(name)
    # To read a pipe may take for ever, and a device may have no end.
    if not (stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)):
        raise ValueError("is a pipe or a device; it must be a file.")
    if status.st_size > _MAX_BYTES:
        raise ValueError(f"has {status.st_size} bytes; an image file may have {_MAX_BYTES}.")
    with open(name, "rb") as file:
        return decodable(file.read())


def decodable_in_graph(encoded: tf.Tensor, convert: Convert | None = None) -> tf.Tensor:
    """`decodable` inside `tf.data`: string scalars.

    Args:
        encoded: content of a file.
        convert: None takes `decodable` itself.
    """
    heads = [tf.strings.substr(encoded, 0, len(head)) == head for head in _BY_TENSORFLOW]
    converted = tf.cond(
        tf.reduce_any(heads),
        lambda: encoded,
        lambda: tf.numpy_function(convert or decodable, [encoded], tf.string, stateful=False),
    )
    return tf.ensure_shape(converted, ())


def decodable(encoded: bytes) -> bytes:
    """Content of an image file as TensorFlow decodes it.

    JPEG and PNG files stay as they are. GIF, BMP, TIFF, WebP and AVIF files are read by Pillow, HEIC files by
    pillow-heif where it is installed, and become BMP files with 24 bits a pixel, or 32 where they are transparent,
    upright: of an animation or several pages the first, of 16 bits the upper 8.

    Raises:
        ValueError: it is broken, none of these or too large; the message lacks the name of the file.
        MemoryError: it takes more memory than there is.
    """
    if encoded.startswith(_BY_TENSORFLOW):
        return encoded
    try:
        with Image.open(io.BytesIO(encoded), formats=_BY_PILLOW) as image:
            width, height = image.size
            if width * height <= MAX_PIXELS:
                return _as_bmp(image)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise ValueError(f"has more than {MAX_PIXELS} pixels, which an image may have.") from None
    except MemoryError:
        raise
    except Exception:  # what Pillow raises about broken files is not listed anywhere
        raise ValueError(_why_not(encoded)) from None
    raise ValueError(too_large(height, width))


def _why_not(encoded: bytes) -> str:
    if not _HAS_HEIC and _HEIF_HEAD.match(encoded):
        return f"is a HEIC image, which pillow-heif reads: {install_command('[heic]')}."
    return BROKEN_FILE


def _as_bmp(image: Image.Image) -> bytes:
    if image.mode.startswith("I;16"):
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if image.mode in ("I", "F"):
        raise ValueError("It is not said which of its numbers are black and white.")
    image, content = ImageOps.exif_transpose(image), io.BytesIO()
    image.convert("RGBA" if image.has_transparency_data else "RGB").save(content, "BMP")
    return content.getvalue()
