"""From an encoded image to pixels."""

import tensorflow as tf

from keras_nest.data.sources.examples import Example


def decode(example: Example) -> tf.Tensor:
    """All pixels of an image, upright.

    Args:
        example: an image file as `decode_upright` takes it, or pixels, which are returned as they are.

    Returns:
        uint8 (H, W, 3).
    """
    if example.content.dtype != tf.string:
        return example.content
    return decode_upright(example.content, example.orientation)


def decode_upright(encoded: tf.Tensor, orientation: tf.Tensor | int) -> tf.Tensor:
    """All pixels of an image file, upright.

    Grey images are repeated over three channels, CMYK is converted, of 16 bits the upper 8 are taken, transparency is
    dropped, and of an animation the first frame is taken.

    Args:
        encoded: content of a JPEG, PNG, GIF or BMP file, a string scalar; the palette of a BMP file is ignored.
        orientation: as `turn_upright` takes it.

    Returns:
        uint8 (H, W, 3).
    """
    pixels = tf.io.decode_image(encoded, channels=3, expand_animations=False)
    return turn_upright(tf.ensure_shape(pixels, [None, None, 3]), orientation)


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
