"""Random erasing: a rectangle of a training image becomes noise.

Source: Zhun Zhong et al., "Random Erasing Data Augmentation", 2017, arXiv:1708.04896, as in
`augment/augment_utils.py` of the code of NesT.
"""

import functools
import math

import tensorflow as tf

from keras_nest.data.checks import Range, check_probability, check_range
from keras_nest.graphs import as_written

# The generator behind `stateless_normal` on CPUs, as TensorFlow's operations number them.
_PHILOX = 1


@as_written
def random_erasing(
    image: tf.Tensor,
    key: tf.Tensor,
    probability: float = 0.25,
    area_range: Range = (0.02, 1 / 3),
    aspect_range: Range = (0.3, 1 / 0.3),
) -> tf.Tensor:
    """Replaces a rectangle by noise of mean 0 and standard deviation 1, one number a pixel and channel.

    The area is uniform, the aspect ratio is uniform in its logarithm, and so is the center within the image. What of
    the rectangle lies outside the image is lost, not drawn again, so that it covers 13.5 % of an image on average and
    not the 17.6 % that the areas promise. Noise is drawn only where it is needed.

    The key is split in six: one not used, area, aspect ratio, center (split in three: one not used, row, column),
    noise, and whether the image is changed.

    Args:
        image: float32 (H, W, C), normalized to about mean 0 and standard deviation 1; in a batch (B, H, W, C) every
            image is drawn for by itself.
        key: integer (2,).
        probability: of an image to be changed.
        area_range: smallest and largest share of the image, in (0, 1].
        aspect_range: smallest and largest height / width, as shares of the image's own.

    Returns:
        float32, of the same shape.

    Raises:
        ValueError: the image is not float32, the probability is outside [0, 1], or a range is empty.
    """
    check_probability("probability", probability)
    check_range("area_range", area_range, highest=1)
    check_range("aspect_range", aspect_range)
    image = tf.convert_to_tensor(image)
    if image.dtype != tf.float32:
        raise ValueError(f"The image is {image.dtype.name}; it must be float32 and normalized, as the noise is.")
    _, area_key, aspect_key, center_key, noise_key, change_key = tf.unstack(tf.random.split(key, 6))
    draw = functools.partial(tf.random.stateless_uniform, tf.shape(image)[:-3])
    changed = draw(change_key) <= probability

    def erased() -> tf.Tensor:
        _, row_key, column_key = tf.unstack(tf.random.split(center_key, 3))
        height, width = tf.unstack(tf.shape(image)[-3:-1])
        mask = erasing_mask(
            height,
            width,
            center=(draw(row_key), draw(column_key)),
            area=draw(area_key, *area_range),
            aspect=tf.exp(draw(aspect_key, *map(math.log, aspect_range))),
        )
        if mask.shape.rank == 2:
            return _replace_box(image, mask, noise_key)
        mask &= changed[..., None, None]
        return tf.where(mask[..., None], tf.random.stateless_normal(tf.shape(image), noise_key), image)

    return tf.ensure_shape(tf.cond(tf.reduce_any(changed), erased, lambda: image), image.shape)


def erasing_mask(
    height: int | tf.Tensor,
    width: int | tf.Tensor,
    center: tuple[float | tf.Tensor, float | tf.Tensor],
    area: float | tf.Tensor,
    aspect: float | tf.Tensor,
) -> tf.Tensor:
    """Where a given rectangle lies.

    Args:
        height: of the image in pixels.
        width: of the image in pixels.
        center: of the rectangle, (row, column) as shares of height and width; scalars, or for a batch (B,).
        area: of the whole rectangle, as a share of the image; likewise.
        aspect: height / width of the rectangle, each as a share of the image's own; likewise.

    Returns:
        bool (height, width) or (B, height, width), true at the pixels strictly inside.
    """
    share = tf.sqrt(tf.stack([area * aspect, area / aspect]))
    rows, columns = (
        _inside(side, tf.convert_to_tensor(place), part)
        for side, place, part in zip((height, width), center, tf.unstack(share), strict=True)
    )
    return rows[..., None] & columns[..., None, :]


def _inside(side: int | tf.Tensor, center: tf.Tensor, share: tf.Tensor) -> tf.Tensor:
    """Booleans (…, side): the pixels of one axis that are strictly inside."""
    length = tf.cast(side, tf.float32)
    return tf.abs(tf.range(length) - center[..., None] * length) < length * share[..., None] / 2


def _replace_box(image: tf.Tensor, mask: tf.Tensor, noise_key: tf.Tensor) -> tf.Tensor:
    """One image with noise where the mask (H, W) of a rectangle is true.

    It draws only the rows of the noise that it needs and copies what it keeps, in half the time of choosing pixels.
    """
    (top, bottom), (left, right) = (_ends(tf.reduce_any(mask, axis)) for axis in (1, 0))
    rows = image[top:bottom]
    noise = _rows_of_normal(noise_key, top, tf.shape(rows))
    rows = tf.concat([rows[:, :left], noise[:, left:right], rows[:, right:]], 1)
    return tf.concat([image[:top], rows, image[bottom:]], 0)


def _rows_of_normal(key: tf.Tensor, first: tf.Tensor, shape: tf.Tensor) -> tf.Tensor:
    """The rows from `first` on of what `stateless_normal` draws for all rows; `shape` is (rows, W, C)."""
    before, size = first * shape[1] * shape[2], tf.reduce_prod(shape)
    philox_key, counter = tf.raw_ops.StatelessRandomGetKeyCounter(seed=key)
    # A step of the counter is four numbers.
    counter += tf.stack([tf.cast(before // 4, tf.uint64), tf.constant(0, tf.uint64)])
    drawn = tf.raw_ops.StatelessRandomNormalV2(shape=[before % 4 + size], key=philox_key, counter=counter, alg=_PHILOX)
    return tf.reshape(drawn[before % 4 :], shape)


def _ends(inside: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """First index where one run of true values begins, and the first behind it."""
    first = tf.argmax(inside, output_type=tf.int32)
    return first, first + tf.reduce_sum(tf.cast(inside, tf.int32))
