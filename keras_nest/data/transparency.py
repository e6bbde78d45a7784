"""Transparent image files, inside a graph: which files are, and their pixels on white.

TensorFlow drops alpha unless four channels are asked for, and then makes it up for files that have none.
"""

import tensorflow as tf

from keras_nest.pixels import on_white

_PNG, _BMP = b"\x89PNG\r\n\x1a\n", b"BM"
_HEAD = 32  # bytes, in which all of these stand
_PNG_DEPTH, _PNG_COLOR_TYPE, _BMP_BITS = 24, 25, 28
_SECOND_CHUNK = 33  # the first is the header of the image
_MOST_CHUNKS = 2**14  # more than any encoder writes before the pixels


def is_transparent(encoded: tf.Tensor) -> tf.Tensor:
    """Whether an image file says how transparent its pixels are.

    Source: PNG, third edition, 11.2.1 and 11.3.1.1.

    Args:
        encoded: content of a file, a string scalar.

    Returns:
        Boolean scalar: true of PNG files with an alpha channel, or with a palette or one color that is transparent,
        and of BMP files with 32 bits a pixel; false of all others.
    """
    # One question after the other: most files are neither.
    return tf.cond(_begins(encoded, _PNG), lambda: _is_transparent_png(encoded), lambda: _is_bmp_with_alpha(encoded))


def decode_on_white(encoded: tf.Tensor) -> tf.Tensor:
    """Pixels of a file that `is_transparent`, uint8 (H, W, 3), laid on white."""
    pixels = tf.ensure_shape(tf.io.decode_image(encoded, channels=4, expand_animations=False), [None, None, 4])
    # What libpng passes over, such as a damaged chunk, is not transparent; TensorFlow then fills alpha with the largest
    # number of as few bits as the colors had in the file.
    bits = tf.where(_begins(encoded, _PNG), tf.minimum(_head(encoded)[_PNG_DEPTH], 8), 8)
    filling = tf.cast(tf.bitwise.left_shift(1, bits) - 1, tf.uint8)
    colors, alpha = pixels[..., :3], pixels[..., 3:]
    return tf.cond(tf.reduce_all(alpha == filling), lambda: colors, lambda: on_white(colors, alpha))


def _is_bmp_with_alpha(encoded: tf.Tensor) -> tf.Tensor:
    return tf.cond(_begins(encoded, _BMP), lambda: _head(encoded)[_BMP_BITS] == 32, lambda: tf.constant(False))


def _is_transparent_png(encoded: tf.Tensor) -> tf.Tensor:
    has_channel = _head(encoded)[_PNG_COLOR_TYPE] & 4 != 0
    return tf.cond(has_channel, lambda: has_channel, lambda: _has_transparency_chunk(encoded))


def _has_transparency_chunk(encoded: tf.Tensor) -> tf.Tensor:
    """Whether a PNG file has a chunk tRNS, which stands before its pixels."""
    size = tf.strings.length(encoded)

    def kind(place: tf.Tensor) -> tf.Tensor:
        return tf.strings.substr(encoded, tf.minimum(place + 4, size), 4)

    def go_on(place: tf.Tensor) -> tf.Tensor:
        found = kind(place)
        return (tf.strings.length(found) == 4) & (found != b"IDAT") & (found != b"tRNS")

    def step(place: tf.Tensor) -> tuple[tf.Tensor]:
        length = tf.io.decode_raw(tf.strings.substr(encoded, place, 4), tf.int32, little_endian=False)[0]
        is_inside = (length >= 0) & (length < size - place)
        return (place + tf.where(is_inside, 12 + length, size - place),)

    (place,) = tf.while_loop(go_on, step, (tf.constant(_SECOND_CHUNK),), maximum_iterations=_MOST_CHUNKS)
    return kind(place) == b"tRNS"


def _head(encoded: tf.Tensor) -> tf.Tensor:
    """int32 (32,): the first bytes, with zeros behind a file that ends early."""
    padded = tf.strings.join([tf.strings.substr(encoded, 0, _HEAD), bytes(_HEAD)])
    return tf.cast(tf.io.decode_raw(tf.strings.substr(padded, 0, _HEAD), tf.uint8), tf.int32)


def _begins(encoded: tf.Tensor, signature: bytes) -> tf.Tensor:
    return tf.strings.substr(encoded, 0, len(signature)) == signature
