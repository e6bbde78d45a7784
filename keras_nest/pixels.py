"""What an image may be: kinds of objects, layouts, channels and dtypes; `value_range` has the ranges of floats.

Every door goes through here: `preprocessor`, `predict` with any kind of model file, and TFLite files in Python. What is
plain is converted, and everything else is refused in a sentence.
"""

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from PIL import Image, ImageOps

from keras_nest.graphs import as_written
from keras_nest.value_range import ValueRange, infer_scales, require

_LUMA = (0.299, 0.587, 0.114)
"""Of red, green and blue, ITU-R BT.601: what decoders of JPEG and Pillow take for gray."""
_IMAGE_CHANNELS = (1, 3, 4)
_WANTED = "they must be uint8 in 0..255, or floats in [0, 1] or 0..255 that are not normalized yet"


def as_images(images: Any, channels: int, value_range: ValueRange | None = None) -> tf.Tensor | list[tf.Tensor]:
    """What a user calls images, as tensors.

    Gray images are repeated over three channels, RGBA images are laid on white, as files are, and colors become gray
    (BT.601) for models of one channel. Integers are levels, True is white. Images of Pillow are turned as their EXIF
    orientation says, and of 16 bits the upper 8 are taken.

    Args:
        images: (B, h, w, C), (h, w, C), gray (h, w), or a list of images, each of its own size; arrays, tensors, or
            images of Pillow. They may be symbolic.
        channels: of the model; C is the same, or one of 1, 3, 4 where the model has 1 or 3.
        value_range: of floats, as `infer_scales` takes it; only what is laid on white depends on it.

    Returns:
        uint8 in 0..255 or floats as they were: (B, h, w, channels) or (h, w, channels), or a list of the latter.

    Raises:
        ValueError: they are no images, empty, of another layout, or integers beyond 0..255. Inside a graph, what only
            values show is an InvalidArgumentError when it runs.
    """
    if isinstance(images, np.ndarray) and images.dtype == object and images.ndim == 1:
        images = list(images)
    if not isinstance(images, (list, tuple)):
        return _as_tensor(images, channels, value_range)
    if not len(images):
        raise ValueError("The list of images is empty.")
    tensors = [_as_tensor(image, channels, value_range, f"Image {number}") for number, image in enumerate(images)]
    for number, tensor in enumerate(tensors):
        if tensor.shape.rank != 3:
            raise ValueError(
                f"Image {number} of the list has the shape {tensor.shape}; it must be one (h, w, {channels})."
            )
    return tensors


def as_levels(images: Any, channels: int) -> list[np.ndarray]:
    """Images as files hold them: uint8 (h, w, channels), floats rounded to the nearest of 256 levels.

    Args:
        images: a batch (B, h, w, C) or a list, as `as_images` takes them.
        channels: of the model.

    Raises:
        ValueError: as `as_images` and `infer_scales`; or one image alone.
    """
    found = as_images(images, channels)
    tensors = found if isinstance(found, list) else [found]
    if tensors is not found and tensors[0].shape.rank != 4:
        raise ValueError(f"The images have the shape {tensors[0].shape}; a single image must be in a list.")
    levels = [
        image
        if image.dtype == tf.uint8
        else tf.saturate_cast(tf.round(tf.cast(image, tf.float32) * (255 / scale)), tf.uint8)
        for image, scale in zip(tensors, infer_scales(tensors), strict=True)
    ]
    return [image.numpy() for image in levels] if tensors is found else list(levels[0].numpy())


def _as_tensor(image: Any, channels: int, value_range: ValueRange | None, name: str = "The image") -> tf.Tensor:
    """One image or batch; uint8 or floats, (…, h, w, channels)."""
    numbers = _as_uint8_or_floats(_with_channel_axis(_convert(image, channels, name), channels))
    return as_channels(_without_alpha(numbers, channels, value_range), channels)


def _convert(image: Any, channels: int, name: str) -> tf.Tensor:
    """Any object as a tensor of numbers."""
    if isinstance(image, Image.Image):
        image = _of_pillow(image)
    if isinstance(image, (str, bytes, os.PathLike)):
        raise ValueError(f"{name} is {str(image)[:80]!r}, not pixels; keras_nest.predict.read_image reads a file.")
    if isinstance(image, (list, tuple)):
        raise ValueError(f"{name} is a {type(image).__name__}; it must be an array, (h, w, {channels}).")
    if isinstance(image, np.ndarray) and not image.dtype.isnative:
        image = image.astype(image.dtype.newbyteorder("="))
    try:
        tensor = tf.convert_to_tensor(image)
    except (TypeError, ValueError, NotImplementedError):
        kind = f"an array of {image.dtype}" if isinstance(image, np.ndarray) else f"a {type(image).__name__}"
        raise ValueError(f"{name} is {kind}; it must be an array of numbers, (h, w, {channels}).") from None
    if not (tensor.dtype.is_floating or tensor.dtype.is_integer or tensor.dtype.is_bool) or tensor.dtype.is_quantized:
        hint = "; keras_nest.predict.read_image reads files" if tensor.dtype == tf.string else ""
        raise ValueError(f"Images have dtype {tensor.dtype.name}; {_WANTED}{hint}.")
    return tensor


def _of_pillow(image: Image.Image) -> np.ndarray:
    """Gray (h, w), RGB, or RGBA where it is transparent."""
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I;16"):
        return _of_16_bits(np.asarray(image), image.info.get("transparency"))
    if image.mode in ("I", "F"):
        return np.asarray(image)
    mode = "RGBA" if image.has_transparency_data else "L" if image.mode in ("1", "L") else "RGB"
    try:
        return np.asarray(image.convert(mode))
    except ValueError:
        raise ValueError(
            f"The image of Pillow has the mode {image.mode}; it must be one that becomes {mode}."
        ) from None


def _of_16_bits(numbers: np.ndarray, transparent: int | None) -> np.ndarray:
    """The upper 8 bits (h, w); as RGBA where one of the numbers stands for what is transparent."""
    levels = (numbers >> 8).astype(np.uint8)
    if transparent is None:
        return levels
    return np.stack([levels, levels, levels, np.where(numbers == transparent, 0, 255).astype(np.uint8)], -1)


def _with_channel_axis(images: tf.Tensor, channels: int) -> tf.Tensor:
    """(h, w) as (h, w, 1); every other layout than (h, w, C) and (B, h, w, C) is refused."""
    shape = images.shape
    allowed = {1: _IMAGE_CHANNELS, 3: _IMAGE_CHANNELS}.get(channels, (channels,))
    # Narrower ones may be rows of an image.
    if shape.rank == 2 and 1 in allowed and (shape[1] is None or shape[1] > max(_IMAGE_CHANNELS)):
        images, shape = images[..., None], tf.TensorShape((*shape, 1))
    if shape.rank not in (3, 4) or shape[-1] not in (None, *allowed):
        wanted = f"it must be (h, w, {channels}) or (B, h, w, {channels})"
        raise ValueError(f"Images have the shape {shape}; {wanted}{_hint(shape, allowed)}.")
    if 0 in tuple(shape):
        raise ValueError(f"Images have the shape {shape}, which holds no pixels; there must be an image at least.")
    if shape.is_fully_defined():
        return images
    found = "Images have the shape", tf.shape(images)
    images = require(tf.size(images) > 0, (*found, "; there must be an image with pixels at least."), images)
    if shape[-1] is None:
        known = tf.reduce_any(tf.shape(images)[-1] == tf.constant(allowed))
        images = require(known, (*found, f"; they must have {channels} channels, which come last."), images)
    return images


def _hint(shape: tf.TensorShape, allowed: Sequence[int]) -> str:
    if shape.rank in (3, 4) and shape[-3] in allowed:
        return "; channels must come last: np.moveaxis(images, -3, -1)"
    if shape.rank == 3 and 1 in allowed:
        return "; a batch of gray images must be (B, h, w, 1)"
    if shape.rank == 2 and 1 in allowed:
        return "; a gray image as narrow as this must be (h, w, 1)"
    return ""


def _as_uint8_or_floats(images: tf.Tensor) -> tf.Tensor:
    """Integers as the levels that they are, and True as white."""
    if images.dtype == tf.uint8 or images.dtype.is_floating:
        return images
    if images.dtype.is_bool:
        return tf.cast(images, tf.uint8) * 255
    lowest, highest = (tf.cast(reduce(images), tf.int64) for reduce in (tf.reduce_min, tf.reduce_max))
    hint = "; of 16 bits take the upper 8, images >> 8" if images.dtype == tf.uint16 else ""
    message = (
        f"Images of {images.dtype.name} have values from",
        lowest,
        "to",
        highest,
        f"; they must lie in 0..255{hint}.",
    )
    return tf.cast(require((lowest >= 0) & (highest <= 255), message, images), tf.uint8)


def _without_alpha(images: tf.Tensor, channels: int, value_range: ValueRange | None) -> tf.Tensor:
    """RGBA on white for models of gray or RGB; all others as they are."""
    if channels not in (1, 3) or images.shape[-1] in (1, 3):
        return images

    def laid() -> tf.Tensor:
        (white,) = infer_scales([images], value_range)
        colors, alpha = images[..., :-1], images[..., -1:]
        return on_white(colors, _in_range_of_colors(alpha, colors, white), white)

    return laid() if images.shape[-1] == 4 else tf.cond(tf.shape(images)[-1] == 4, laid, lambda: images)


def _in_range_of_colors(alpha: tf.Tensor, colors: tf.Tensor, white: tf.Tensor) -> tf.Tensor:
    """Alpha, unless it is a share beside colors that are levels."""
    if alpha.dtype == tf.uint8:
        return alpha
    highest, of_colors = tf.reduce_max(alpha), tf.reduce_max(colors)
    fits = (white == 1) | (highest > 1) | (highest == 0)
    found = "RGBA images have colors up to", of_colors, "and alpha up to", highest
    return require(fits, (*found, "; both must be in one range, [0, 1] or 0..255."), alpha)


@as_written
def on_white(colors: tf.Tensor, alpha: tf.Tensor, white: tf.Tensor | float = 255.0) -> tf.Tensor:
    """Transparent images as they look on a white page.

    Args:
        colors: uint8 or floats (…, C), not multiplied by alpha.
        alpha: the same dtype (…, 1): 0 shows what is behind.
        white: of floats, the level of white, and the alpha that shows nothing behind.

    Returns:
        The same dtype (…, C): colors alpha + white (1 - alpha), of uint8 the nearest level.
    """
    if colors.dtype == tf.uint8:
        colors, alpha = tf.cast(colors, tf.uint16), tf.cast(alpha, tf.uint16)
        # At most 255 * 255 + 127, which 16 bits hold; and nothing lies in the middle of two levels.
        return tf.cast((colors * alpha + 255 * (255 - alpha) + 127) // 255, tf.uint8)
    white = tf.cast(white, colors.dtype)
    share = alpha / white
    return colors * share + white * (1 - share)


def as_channels(images: tf.Tensor, channels: int) -> tf.Tensor:
    """Gray or RGB as what the model takes.

    Args:
        images: uint8 or floats (…, 1 or 3).
        channels: of the model; others than 1 and 3 leave images as they are.
    """
    found = images.shape[-1]
    if found == channels or channels not in (1, 3):
        return images
    if channels == 3:
        # One channel is repeated, three stay.
        shape = tf.concat([tf.shape(images)[:-1], [3]], 0)
        return tf.ensure_shape(tf.broadcast_to(images, shape), (*images.shape[:-1], 3))
    gray = _luma if found else lambda x: tf.cond(tf.shape(x)[-1] == 1, lambda: x, lambda: _luma(x))
    return tf.ensure_shape(gray(images), (*images.shape[:-1], 1))


def _luma(images: tf.Tensor) -> tf.Tensor:
    gray = tf.reduce_sum(tf.cast(images, tf.float32) * tf.constant(_LUMA), -1, keepdims=True)
    return tf.cast(tf.round(gray), tf.uint8) if images.dtype == tf.uint8 else gray
