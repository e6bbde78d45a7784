"""From an encoded image to pixels."""

import tensorflow as tf

from keras_nest.data.image_files import MAX_PIXELS, too_large
from keras_nest.data.transparency import decode_on_white, is_transparent
from keras_nest.graphs import as_written

_JPEG, _PNG, _GIF, _BMP = b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF8", b"BM"
_HEAD = 32  # bytes in which the size stands, but for JPEG


@as_written
def decode_upright(encoded: tf.Tensor, orientation: tf.Tensor | int) -> tf.Tensor:
    """All pixels of an image file, upright.

    Gray images are repeated over three channels, CMYK is converted, of 16 bits the upper 8 are taken, and what is
    transparent is laid on white, as `keras_nest.pixels.on_white` does.

    Args:
        encoded: content of a JPEG, PNG or BMP file, a string scalar, as `image_files.decodable` makes it.
        orientation: as `turn_upright` takes it.

    Returns:
        uint8 (H, W, 3).

    Raises:
        ValueError: the image has more than `image_files.MAX_PIXELS`; inside a graph an InvalidArgumentError. Nothing
            is decoded then.
    """
    with tf.control_dependencies([check_size(header_size(encoded))]):
        pixels = tf.cond(is_transparent(encoded), lambda: decode_on_white(encoded), lambda: _decode_opaque(encoded))
    return turn_upright(pixels, orientation)


def _decode_opaque(encoded: tf.Tensor) -> tf.Tensor:
    pixels = tf.io.decode_image(encoded, channels=3, expand_animations=False)
    return tf.ensure_shape(pixels, [None, None, 3])


def header_size(encoded: tf.Tensor) -> tf.Tensor:
    """Height and width of an image as the header of its file tells them; nothing is decoded.

    Args:
        encoded: content of a JPEG, PNG, GIF or BMP file, a string scalar.

    Returns:
        int32 (2,); zeros of other files.
    """
    # Zeros behind it, so that a file that ends early has a size of 0.
    head = tf.strings.substr(tf.strings.join([tf.strings.substr(encoded, 0, _HEAD), bytes(_HEAD)]), 0, _HEAD)

    def is_kind(signature: bytes) -> tf.Tensor:
        return tf.strings.substr(head, 0, len(signature)) == signature

    def two(start: int, dtype: tf.DType, little_endian: bool = True) -> tf.Tensor:
        """Width and height that stand there, turned round."""
        numbers = tf.io.decode_raw(tf.strings.substr(head, start, 2 * dtype.size), dtype, little_endian=little_endian)
        return tf.reshape(tf.abs(tf.cast(numbers, tf.int32))[::-1], (2,))

    png, gif, bmp = two(16, tf.int32, little_endian=False), two(6, tf.uint16), two(18, tf.int32)
    other = tf.where(is_kind(_PNG), png, tf.where(is_kind(_GIF), gif, tf.where(is_kind(_BMP), bmp, tf.zeros_like(bmp))))
    return tf.cond(is_kind(_JPEG), lambda: tf.io.extract_jpeg_shape(encoded)[:2], lambda: other)


def check_size(size: tf.Tensor) -> tf.Operation:
    """Refuses an image, int32 (height, width), of more than `image_files.MAX_PIXELS`.

    Raises:
        ValueError: says how many it has; inside a graph the operation fails with an InvalidArgumentError.
    """
    fits = tf.reduce_prod(tf.cast(size, tf.int64)) <= MAX_PIXELS
    if tf.executing_eagerly():
        if not fits:
            raise ValueError(too_large(*size.numpy()))
        return tf.no_op()
    message = tf.strings.join(["An image ", tf.strings.format(too_large("{}", "{}"), tf.unstack(size, 2))])
    return tf.debugging.Assert(fits, [message])


def turn_upright(pixels: tf.Tensor, orientation: tf.Tensor | int) -> tf.Tensor:
    """Turns and mirrors an image as its EXIF orientation says.

    Args:
        pixels: (H, W, C).
        orientation: integer scalar from 1 (upright) to 8; other numbers count as 1.

    Returns:
        (H, W, C), or (W, H, C) from 5 on.
    """

    def is_one_of(*orientations: int) -> tf.Tensor:
        return tf.reduce_any(tf.cast(orientation, tf.int32) == tf.constant(orientations))

    # Orientations from 5 on exchange rows and columns; what is left is to mirror rows, columns or both.
    pixels = tf.cond(is_one_of(5, 6, 7, 8), lambda: tf.transpose(pixels, [1, 0, 2]), lambda: pixels)
    pixels = tf.cond(is_one_of(3, 4, 7, 8), lambda: tf.reverse(pixels, [0]), lambda: pixels)
    return tf.cond(is_one_of(2, 3, 6, 7), lambda: tf.reverse(pixels, [1]), lambda: pixels)
