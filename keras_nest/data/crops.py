"""Random crops and flips of training images, and their normalization.

Every draw has a key of its own; what is drawn depends on the key alone.
"""

from collections.abc import Sequence

import tensorflow as tf

from keras_nest.data.checks import Range, check_range, check_unit_range
from keras_nest.data.decoding import check_size, decode_upright
from keras_nest.data.operations import as_row
from keras_nest.data.orientation import UPRIGHT
from keras_nest.graphs import as_written
from keras_nest.types import Size, as_size


def random_box(
    shape: tf.Tensor | Sequence[int],
    key: tf.Tensor,
    area_range: Range = (0.05, 1.0),
    aspect_range: Range = (0.75, 1.33),
) -> tf.Tensor:
    """A part of an image.

    The aspect ratio is uniform, and so is the height among those that keep the area in its range. Boxes are therefore
    smaller than with a uniform area: a mean share of .34 at 375x500 pixels instead of .42. A box narrower than the
    image never reaches its last column, and a lower one not its last row. Where no box fits, it is the whole image.

    Source: reference `libml/preprocess.py`; the draw is `tf.image.stateless_sample_distorted_bounding_box`.

    Args:
        shape: (H, W, C) of the image.
        key: integer (2,).
        area_range: smallest and largest share of the image, in (0, 1].
        aspect_range: smallest and largest width / height.

    Returns:
        int32 (4,): top, left, height, width in pixels.

    Raises:
        ValueError: a range is empty or not positive, or an area above 1.
    """
    check_range("area_range", area_range, highest=1)
    check_range("aspect_range", aspect_range)
    begin, size, _ = tf.image.stateless_sample_distorted_bounding_box(
        shape,
        tf.zeros([0, 0, 4]),
        key,
        min_object_covered=0.0,
        aspect_ratio_range=aspect_range,
        area_range=area_range,
        use_image_if_no_bounding_boxes=True,
    )
    return tf.concat([begin[:2], size[:2]], 0)


@as_written
def decode_random_crop(
    encoded: tf.Tensor, key: tf.Tensor, size: int | Size, orientation: tf.Tensor | int = UPRIGHT
) -> tf.Tensor:
    """Decodes a random part of an image file and resizes it.

    Of an upright JPEG file only the box is decoded, which may change a few pixels by a few levels where the color
    changes sharply. Every other file is decoded whole by `decode_upright` and then cropped, so that a data set may mix
    formats; the reference accepts JPEG only.

    Source: reference `libml/preprocess.py`; it ignores orientations.

    Args:
        encoded: content of the file, a string scalar.
        key: integer (2,), of `random_box`.
        size: side or (height, width) of the output in pixels.
        orientation: integer scalar, how the image is to be turned, as `turn_upright` takes it.

    Returns:
        float32 (height, width, 3) in [0, 1].
    """

    def part() -> tf.Tensor:
        shape = tf.io.extract_jpeg_shape(encoded)
        with tf.control_dependencies([check_size(shape[:2])]):
            return tf.image.decode_and_crop_jpeg(encoded, random_box(shape, key), channels=3)

    def whole() -> tf.Tensor:
        image = decode_upright(encoded, orientation)
        return _crop(image, random_box(tf.shape(image), key))

    is_upright_jpeg = tf.io.is_jpeg(encoded) & (orientation == UPRIGHT)
    return _resize(tf.cond(is_upright_jpeg, part, whole), size)


@as_written
def random_resized_crop(image: tf.Tensor, key: tf.Tensor, size: int | Size) -> tf.Tensor:
    """Resizes a random part of a decoded image, bilinearly and without antialiasing.

    Source: reference `libml/preprocess.py`.

    Args:
        image: (H, W, C), uint8 in 0..255 or float in [0, 1].
        key: integer (2,), of `random_box`.
        size: side or (height, width) of the output in pixels.

    Returns:
        float32 (height, width, C) in [0, 1].

    Raises:
        ValueError: another dtype, or floats of 0..255.
    """
    return _resize(_crop(image, random_box(tf.shape(image), key)), size)


@as_written
def pad_and_crop(image: tf.Tensor, key: tf.Tensor, size: int | Size | None = None, pad: int = 2) -> tf.Tensor:
    """Pads an image with zeros and takes a random part, as training on CIFAR does.

    Source: reference `libml/preprocess.py`; it pads by 2 pixels, and not by 4 as is common.

    Args:
        image: (H, W, C), any dtype; a larger one is first cropped centrally to the padded size.
        key: integer (2,).
        size: side or (height, width) of the output in pixels; None keeps that of the image.
        pad: zeros on each side, in pixels.

    Returns:
        (height, width, C) of the same dtype.

    Raises:
        ValueError: `pad` is negative.
    """
    if pad < 0:
        raise ValueError(f"pad is {pad}; it must be 0 or more pixels.")
    height, width = tf.unstack(tf.shape(image)[:2]) if size is None else as_size(size)
    padded = tf.image.resize_with_crop_or_pad(image, height + 2 * pad, width + 2 * pad)
    cropped = tf.image.stateless_random_crop(padded, [height, width, padded.shape[-1]], key)
    return tf.ensure_shape(cropped, image.shape) if size is None else cropped


@as_written
def random_flip(image: tf.Tensor, key: tf.Tensor) -> tf.Tensor:
    """Mirrors an image left to right, half of the time.

    Args:
        image: (H, W, C), any dtype; in a batch (B, H, W, C) every image is drawn for by itself.
        key: integer (2,).

    Returns:
        The image, of the same shape and dtype.
    """
    return tf.image.stateless_random_flip_left_right(image, key)


@as_written
def normalize(images: tf.Tensor, mean: Sequence[float], std: Sequence[float]) -> tf.Tensor:
    """(x - mean) / std of [0, 1] pixels, as one multiplication and one addition.

    Args:
        images: (…, C), uint8 in 0..255 or float in [0, 1].
        mean: mean of each channel of [0, 1] images.
        std: standard deviation of each channel of [0, 1] images.

    Returns:
        float32 (…, C).

    Raises:
        ValueError: another dtype, floats of 0..255, a mean of 0..255, or a standard deviation that is not positive.
    """
    if min(std) <= 0:
        raise ValueError(f"std is {tuple(std)}; every deviation must be above 0.")
    if max(mean) > 1:
        raise ValueError(f"mean is {tuple(mean)}; it must be that of pixels in [0, 1]: divide mean and std by 255.")
    scale = [1 / (_brightest(images) * s) for s in std]
    offset = [-m / s for m, s in zip(mean, std, strict=True)]
    return tf.cast(images, tf.float32) * as_row(scale, images) + as_row(offset, images)


def _crop(image: tf.Tensor, box: tf.Tensor) -> tf.Tensor:
    top, left, height, width = tf.unstack(box)
    return image[top : top + height, left : left + width]


def _resize(image: tf.Tensor, size: int | Size) -> tf.Tensor:
    # Divided first, as the reference does; the last bits depend on it.
    return tf.image.resize(tf.cast(image, tf.float32) / _brightest(image), as_size(size))


def _brightest(images: tf.Tensor) -> float:
    """Value of a white pixel."""
    dtype = tf.as_dtype(images.dtype)
    if dtype != tf.uint8 and not dtype.is_floating:
        raise ValueError(f"Images have dtype {dtype.name}; they must be uint8 in 0..255 or floats in [0, 1].")
    if dtype == tf.uint8:
        return 255.0
    check_unit_range(images)
    return 1.0
