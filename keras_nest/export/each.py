"""Signatures that refuse single images of a batch and answer the others."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import keras
import tensorflow as tf

from keras_nest.export.decoding import image_decoder, judging_decoder
from keras_nest.export.module import image_shape
from keras_nest.models.answers import model_config
from keras_nest.value_range import are_unit

Outputs: TypeAlias = dict[str, tf.Tensor]

EACH = "_each"
"""Behind the name of a signature, that of the one that tells of each image whether it is answered."""

STATUS, MESSAGE = "status", "message"
"""What such a signature puts out besides: a google.rpc.Code, int32 (B,), and strings (B,), empty where all is well."""

OK, INVALID_ARGUMENT = 0, 3

_OUT_OF_RANGE = (
    "The image has values that are not finite or not in [0, 1]; levels of 0..255 are divided by 255, and nothing is "
    "normalized yet."
)


@dataclasses.dataclass(frozen=True)
class ImageInput:
    """An input through which images come.

    Attributes:
        spec: its name, dtype and shape (B, …).
        prepare: makes pixels in [0, 1] of a batch, (B, H, W, C), and fails where an image is bad.
        judge: makes the same pixels, and a message of each image, strings (B,): empty, or what is wrong with it. It
            does not fail.
    """

    spec: tf.TensorSpec
    prepare: Callable[[tf.Tensor], tf.Tensor]
    judge: Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]]


def image_inputs(model: keras.Model) -> dict[str, ImageInput]:
    """The inputs of a model's signatures through which images come, by name.

    They are `images`, and of models for RGB or gray images that carry their preprocessing `image_bytes`.
    """
    shape = image_shape(model)
    spec = tf.TensorSpec((None, *shape), name="images")
    inputs = {"images": ImageInput(spec, lambda images: images, _judge_pixels)}
    if model_config(model).get("preprocessing") and shape[-1] in (1, 3):
        spec = tf.TensorSpec((None,), tf.string, name="image_bytes")
        inputs["image_bytes"] = ImageInput(spec, image_decoder(model), judging_decoder(model))
    return inputs


def has_room(model: keras.Model) -> bool:
    """Whether no output of a model has one of the names that are added for each image."""
    return not (isinstance(model.output, Mapping) and {STATUS, MESSAGE} & model.output.keys())


def for_each(compute: Callable[..., Outputs], images: ImageInput) -> Callable[..., Outputs]:
    """A function of a batch that may have bad images in it.

    The good ones are answered as `compute` answers a batch of them alone, to the last bit. The rows of the bad ones
    are zeros, -1 in whole numbers and empty strings, which JSON can hold, other than NaN. `status` and `message` say
    which are which.

    Args:
        compute: function of pixels (B, H, W, C), and of other inputs, to outputs (B, …).
        images: the input through which the images come.
    """

    def answer(batch: tf.Tensor, *others: Any) -> Outputs:
        pixels, messages = images.judge(batch)
        is_good = messages == ""
        # Models take no empty batch.
        some = lambda: tf.boolean_mask(pixels, is_good)  # noqa: E731
        good = tf.cond(tf.reduce_any(is_good), some, lambda: tf.zeros_like(pixels[:1]))
        rows = tf.maximum(tf.cumsum(tf.cast(is_good, tf.int32)) - 1, 0)
        answers = {name: _spread(value, rows, is_good) for name, value in compute(good, *others).items()}
        return {**answers, STATUS: tf.where(is_good, OK, INVALID_ARGUMENT), MESSAGE: messages}

    return answer


def _spread(answers: tf.Tensor, rows: tf.Tensor, is_good: tf.Tensor) -> tf.Tensor:
    """The answers of the good images in the rows of all."""
    nothing = "" if answers.dtype == tf.string else -1 if answers.dtype.is_integer else 0
    is_good = tf.reshape(is_good, [-1, *[1] * (answers.shape.rank - 1)])
    return tf.where(is_good, tf.gather(answers, rows), tf.cast(nothing, answers.dtype))


def _judge_pixels(images: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    return images, tf.where(are_unit(images), "", _OUT_OF_RANGE)
