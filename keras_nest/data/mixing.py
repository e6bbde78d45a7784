"""Mixup and CutMix: batches of images that are mixed with each other, and their labels with them.

Everything is a few operations on whole batches with static shapes, for `tf.data` or, cheaper, inside the train step on
the accelerator. It compiles with XLA, where TensorFlow draws other numbers from the same key, always the same ones.

Sources: Hongyi Zhang et al., "mixup: Beyond Empirical Risk Minimization", 2018, arXiv:1710.09412, and Sangdoo Yun et
al., "CutMix", 2019, arXiv:1905.04899, as in `augment/augment_utils.py` of the code of NesT.
"""

import numpy as np
import tensorflow as tf

from keras_nest.data.checks import check_probability
from keras_nest.graphs import as_written

Batch = tuple[tf.Tensor, tf.Tensor]
"""Images (B, H, W, C) and labels (B, K)."""

_QUANTILES = 1024


def smooth_one_hot(labels: tf.Tensor, classes: int, smoothing: float = 0.0) -> tf.Tensor:
    """Labels as probabilities: smoothing / K for every class, and the rest for the right one.

    Args:
        labels: integer (B,), in 0..classes - 1.
        classes: number of classes, K.
        smoothing: share of the probability that all classes divide, in [0, 1].

    Returns:
        float32 (B, K); rows sum to 1.

    Raises:
        ValueError: labels are no integers or, if their values are known, out of range; or smoothing is.
        tf.errors.InvalidArgumentError: labels are out of range, found when a graph runs. XLA does not look.
    """
    check_probability("smoothing", smoothing)
    labels = tf.convert_to_tensor(labels)
    if not labels.dtype.is_integer:
        raise ValueError(f"Labels have dtype {labels.dtype.name}; they must be integers, one for each image.")
    if labels.shape.rank not in (1, None):
        raise ValueError(f"Labels have the shape {labels.shape}; they must be integers, one for each image.")
    check_labels(labels, classes)
    rest = smoothing / classes
    return tf.one_hot(labels, classes, 1 - smoothing + rest, rest)


@as_written
def check_labels(labels: tf.Tensor, classes: int) -> None:
    """Refuses labels outside 0..classes - 1.

    Args:
        labels: integers of any shape.
        classes: number of classes.

    Raises:
        ValueError: their values are known and wrong.
        tf.errors.InvalidArgumentError: the same, found when a graph runs. XLA does not look.
    """
    message = f"must be from 0 to {classes - 1}, as there are {classes} classes."
    known = tf.get_static_value(labels)
    if known is None:
        tf.debugging.Assert(tf.reduce_all((labels >= 0) & (labels < classes)), [f"Labels {message}", labels])
    elif np.min(known, initial=0) < 0 or np.max(known, initial=0) >= classes:
        raise ValueError(f"Labels are from {np.min(known)} to {np.max(known)}; they {message}")


def mixup(images: tf.Tensor, labels: tf.Tensor, weights: tf.Tensor, partner: tf.Tensor) -> Batch:
    """Weighted means of images and of their labels.

    Args:
        images: float (B, H, W, C).
        labels: float32 (B, K).
        weights: float32 (B,) in [0, 1], the share of the own image.
        partner: integer (B,), index of the other image.

    Returns:
        Images and labels of the same shapes and dtypes.
    """
    own = tf.cast(weights, images.dtype)[:, None, None, None]
    return images * own + tf.gather(images, partner) * (1 - own), _mix_labels(labels, weights, partner)


def cutmix(
    images: tf.Tensor,
    labels: tf.Tensor,
    weights: tf.Tensor,
    corners: tf.Tensor,
    partner: tf.Tensor,
    area_corrected: bool = False,
) -> Batch:
    """Keeps a box of each image and takes the rest from another.

    The box has the proportions of the image; its sides are cut down to whole pixels, so that it is a little smaller
    than its weight says: by .014 of the image on average at 32x32 pixels, and .002 at 224x224.

    Args:
        images: float (B, H, W, C), finite.
        labels: float32 (B, K).
        weights: float32 (B,) in [0, 1], the share of the own image.
        corners: integer (B, 2), top and left of the box in pixels.
        partner: integer (B,), index of the other image.
        area_corrected: weigh labels by the pixels of the box instead of the given weights.

    Returns:
        Images and labels of the same shapes and dtypes.
    """
    height, width = tf.unstack(tf.shape(images)[1:3])
    sides = _box_sides(weights, height, width)
    rows, columns = _between(corners[:, 0], sides[:, 0], height), _between(corners[:, 1], sides[:, 1], width)
    if area_corrected:
        weights = tf.reduce_mean(tf.cast(rows, tf.float32), 1) * tf.reduce_mean(tf.cast(columns, tf.float32), 1)
    # Products with 0 and 1 are exact, and half the time of choosing; pixels and channels as one axis, likewise.
    pixels = tf.reshape(images, [-1, height, width * images.shape[-1]])
    columns = tf.repeat(columns, images.shape[-1], axis=1)
    own = tf.cast(rows, images.dtype)[:, :, None] * tf.cast(columns, images.dtype)[:, None, :]
    mixed = pixels * own + tf.gather(pixels, partner) * (1 - own)
    return tf.reshape(mixed, tf.shape(images)), _mix_labels(labels, weights, partner)


@as_written
def random_mix(
    images: tf.Tensor,
    labels: tf.Tensor,
    key: tf.Tensor,
    classes: int,
    *,
    mixup_alpha: float = 0.8,
    cutmix_alpha: float = 1.0,
    label_smoothing: float = 0.1,
    probability: float = 1.0,
    exact_beta: bool = False,
    area_corrected: bool = False,
    uniform_boxes: bool = False,
    shuffled_cutmix: bool = False,
    smooth_unmixed: bool = True,
) -> Batch:
    """Mixes a batch by mixup or by CutMix; one coin for the whole batch, weights and boxes for each image.

    The code behind the published models departs from both papers. What the models were trained with is the default,
    and an option gives the papers' way:

    * the smaller weight is u^(1/alpha) / 2, where the folded Beta(alpha, alpha) is meant; equal for alpha 1, and .222
      instead of .228 on average for alpha 0.8 (`exact_beta`);
    * CutMix weighs labels by the drawn weights, not by the pixels of the box (`area_corrected`);
    * its boxes prefer small offsets and never touch the last row or column (`uniform_boxes`);
    * it pairs the batch with its reverse, so that the middle of an odd batch stays as it is (`shuffled_cutmix`).

    In CutMix the own image is the smaller part, inside the box. The published recipe mixes every batch; with a
    `probability` below 1 the labels of the others are smoothed too, which the original forgets (`smooth_unmixed`).

    The key is split in four: CutMix, mixup, which of them, whether to mix. That of CutMix is split into weights and
    boxes, boxes into left, top, and pairs if they are shuffled; that of mixup into weights and pairs. The pairs of
    mixup come from a global state in the original.

    Args:
        images: float (B, H, W, C).
        labels: integer (B,), in 0..classes - 1.
        key: integer (2,).
        classes: number of classes, K.
        mixup_alpha: of Beta(alpha, alpha); 0 leaves mixup out.
        cutmix_alpha: the same for CutMix.
        label_smoothing: share of the probability that all classes divide.
        probability: of a batch to be mixed.
        exact_beta: draw weights from the Beta distribution itself.
        area_corrected: weigh CutMix labels by pixels.
        uniform_boxes: draw CutMix boxes evenly over the image.
        shuffled_cutmix: pair CutMix images at random.
        smooth_unmixed: smooth the labels of unmixed batches too.

    Returns:
        Images (B, H, W, C) of the same dtype, labels float32 (B, K).

    Raises:
        ValueError: images are not a float batch, a probability is outside [0, 1], an alpha is negative, or as
            `smooth_one_hot`.
    """
    check_probability("probability", probability)
    images = tf.convert_to_tensor(images)
    _check_images(images)
    smooth = smooth_one_hot(labels, classes, label_smoothing)
    cutmix_key, mixup_key, branch_key, mix_key = tf.unstack(tf.random.split(key, 4))

    def mix_up() -> Batch:
        weight_key, pair_key = tf.unstack(tf.random.split(mixup_key, 2))
        weights = 1 - _smaller_weights(weight_key, images, mixup_alpha, exact_beta)
        return mixup(images, smooth, weights, _random_pairs(pair_key, images))

    def cut_mix() -> Batch:
        weight_key, box_key = tf.unstack(tf.random.split(cutmix_key, 2))
        weights = _smaller_weights(weight_key, images, cutmix_alpha, exact_beta)
        left_key, top_key, pair_key = tf.unstack(tf.random.split(box_key, 3))
        corners = _random_corners((top_key, left_key), weights, images, uniform_boxes)
        partner = _random_pairs(pair_key, images) if shuffled_cutmix else _reversed_pairs(images)
        return cutmix(images, smooth, weights, corners, partner, area_corrected)

    ways = [way for way, alpha in ((mix_up, mixup_alpha), (cut_mix, cutmix_alpha)) if _is_used(alpha)]
    if not ways:
        return images, smooth
    way = tf.random.stateless_uniform([], branch_key, 0, len(ways), tf.int32)
    mixed = tf.random.stateless_uniform([], mix_key) < probability
    unmixed = smooth if smooth_unmixed else smooth_one_hot(labels, classes)
    return tf.cond(mixed, lambda: tf.switch_case(way, ways), lambda: (images, unmixed))


def _check_images(images: tf.Tensor) -> None:
    if not images.dtype.is_floating or images.shape.rank != 4:
        raise ValueError(
            f"Images are {images.dtype.name} {images.shape}; they must be a batch of floats (B, H, W, C), "
            "as means of integers are not integers."
        )


def _is_used(alpha: float) -> bool:
    if alpha < 0:
        raise ValueError(f"alpha is {alpha}; it must be above 0, or 0 to leave the method out.")
    return alpha > 0


def _mix_labels(labels: tf.Tensor, weights: tf.Tensor, partner: tf.Tensor) -> tf.Tensor:
    own = weights[:, None]
    return labels * own + tf.gather(labels, partner) * (1 - own)


def _smaller_weights(key: tf.Tensor, images: tf.Tensor, alpha: float, exact: bool) -> tf.Tensor:
    """(B,) in [0, 0.5]: the smaller of a number and its complement, whose distribution is about Beta(alpha, alpha)."""
    share = tf.random.stateless_uniform(tf.shape(images)[:1], key)
    if exact:
        share = _interpolate(_beta_table(alpha), share)
    return share ** (1 / alpha) / 2


def _beta_table(alpha: float) -> np.ndarray:
    """(Q + 1,): quantiles of t, where t^(1/alpha) / 2 is the folded Beta(alpha, alpha).

    In t its density is only (1 - t^(1/alpha) / 2)^(alpha - 1), which a few points describe well.
    """
    places = np.linspace(0, 1, _QUANTILES + 1)
    density = (1 - places ** (1 / alpha) / 2) ** (alpha - 1)
    mass = np.append(0, np.cumsum(density[1:] + density[:-1]))
    return np.interp(places, mass / mass[-1], places)


def _interpolate(table: np.ndarray, places: tf.Tensor) -> tf.Tensor:
    """Values at `places` in [0, 1) of a function that a table holds at equal distances."""
    values = tf.constant(table, tf.float32)
    below = tf.floor(places * _QUANTILES)
    index = tf.cast(below, tf.int32)
    low, high = tf.gather(values, index), tf.gather(values, index + 1)
    return low + (high - low) * (places * _QUANTILES - below)


def _box_sides(weights: tf.Tensor, height: tf.Tensor, width: tf.Tensor) -> tf.Tensor:
    """Integers (B, 2): height and width of the box, cut down to whole pixels."""
    size = tf.cast(tf.stack([height, width]), tf.float32)
    return tf.cast(tf.sqrt(weights)[:, None] * size, tf.int32)


def _between(first: tf.Tensor, count: tf.Tensor, side: tf.Tensor) -> tf.Tensor:
    """Booleans (B, side): the `count` pixels of one axis from the `first` one on."""
    distance = tf.range(side)[None] - tf.cast(first, tf.int32)[:, None]
    return (distance >= 0) & (distance < count[:, None])


def _random_corners(
    keys: tuple[tf.Tensor, tf.Tensor], weights: tf.Tensor, images: tf.Tensor, uniform: bool
) -> tf.Tensor:
    """Integers (B, 2): top and left of boxes inside the image."""
    size = tf.unstack(tf.shape(images)[1:3])
    counts = tf.unstack(_box_sides(weights, *size), axis=1)
    axes = zip(keys, counts, size, strict=True)
    return tf.stack([_random_corner(key, count, side, uniform) for key, count, side in axes], axis=1)


def _random_corner(key: tf.Tensor, count: tf.Tensor, side: tf.Tensor, uniform: bool) -> tf.Tensor:
    """Integers (B,): the first of `count` pixels on an axis of `side` pixels."""
    room = side - count
    if uniform:
        return tf.cast(tf.random.stateless_uniform(tf.shape(count), key) * tf.cast(room + 1, tf.float32), tf.int32)
    drawn = tf.random.stateless_uniform(tf.shape(count), key, 0, tf.cast(side, tf.int64), tf.int64)
    return tf.cast(drawn, tf.int32) % room


def _random_pairs(key: tf.Tensor, images: tf.Tensor) -> tf.Tensor:
    return tf.argsort(tf.random.stateless_uniform(tf.shape(images)[:1], key))


def _reversed_pairs(images: tf.Tensor) -> tf.Tensor:
    return tf.range(tf.shape(images)[0])[::-1]
