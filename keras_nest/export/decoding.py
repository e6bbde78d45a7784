"""From encoded images to the pixels of a model, inside the graph."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_nest.data.decoding import decode_upright, header_size
from keras_nest.data.image_files import MAX_PIXELS, too_large
from keras_nest.data.orientation import orientation_in_graph
from keras_nest.export.module import image_shape
from keras_nest.graphs import as_written
from keras_nest.models.answers import model_config
from keras_nest.preprocessing import EvalPreprocessing
from keras_nest.registry import preprocessing_spec
from keras_nest.specs import PreprocessingSpec

_JPEG, _PNG = b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"
# Signature, and the header chunk that comes first in every PNG file.
_PNG_HEADER_BYTES = 33
# In the place of the pixels of a bad file, and what is wrong with it.
_NOTHING = np.zeros((1, 1, 3), np.uint8)
_INCOMPLETE, _BROKEN = "The image is no complete JPEG or PNG file.", "The image is a broken JPEG or PNG file."


def unit_preprocessing(model: keras.Model) -> EvalPreprocessing:
    """The evaluation preprocessing of a model without its normalization, which exported models have inside.

    Returns:
        A layer: uint8 or [0, 1] images of any size -> float32 batch of the model's size, in [0, 1].

    Raises:
        ValueError: the model carries no preprocessing.
    """
    spec, image_size = preprocessing_spec(model)
    return EvalPreprocessing(image_size, **spec.pixels_only(image_shape(model)[-1]))


def outside_preprocessing(model: keras.Model) -> dict[str, Any] | None:
    """What is left to do with images before an exported model, which has the normalization inside.

    Returns:
        Arguments of `EvalPreprocessing`, ready for JSON; None if the model does not know its preprocessing.
    """
    *sides, channels = image_shape(model)
    fields = model_config(model).get("preprocessing")
    if not fields:
        return None
    return {"image_size": sides, **PreprocessingSpec.from_dict(fields).pixels_only(channels)}


def image_decoder(model: keras.Model) -> Callable[[tf.Tensor], tf.Tensor]:
    """A function that makes a model's input of files: strings (B,) -> float32 (B, H, W, channels) in [0, 1].

    The strings are JPEG or PNG files of any size; they are decoded as `keras_nest.data` does (gray images are repeated
    over the channels, CMYK is converted, what is transparent is laid on white, of 16 bits the upper 8 are taken) and
    then prepared as `keras_nest.preprocessor` does. They are turned as their EXIF orientation says.

    Whatever is no such file, or has more than `image_files.MAX_PIXELS`, is refused with an InvalidArgumentError; the
    header is read before anything is decoded.
    """
    preprocess = unit_preprocessing(model)
    pixels_of_one = tf.TensorSpec(image_shape(model), tf.float32)

    def decode(numbered: tuple[tf.Tensor, tf.Tensor]) -> tf.Tensor:
        number, encoded = numbered
        with tf.control_dependencies([_check_kind(number, encoded)]):
            size = header_size(encoded)
        with tf.control_dependencies([_check_size(number, size)]):
            return preprocess(decode_upright(encoded, orientation_in_graph(encoded)))

    def decode_all(image_bytes: tf.Tensor) -> tf.Tensor:
        numbered = tf.range(tf.size(image_bytes)), image_bytes
        # One after the other: a batch of the largest images must not take the memory of all of them.
        return tf.map_fn(decode, numbered, parallel_iterations=1, fn_output_signature=pixels_of_one)

    return decode_all


def judging_decoder(model: keras.Model) -> Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]]:
    """`image_decoder` that refuses single files: strings (B,) -> the same pixels to the last bit, and messages (B,).

    A message says what is wrong with a file, and is empty where nothing is; the pixels of a bad file are zeros.
    """
    preprocess = unit_preprocessing(model)
    specs = tf.TensorSpec(image_shape(model), tf.float32), tf.TensorSpec((), tf.string)

    def decode(encoded: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        incomplete = lambda: (_NOTHING, _INCOMPLETE)  # noqa: E731
        pixels, message = tf.cond(_is_complete(encoded), lambda: _decode_or_not(encoded), incomplete)
        # What computes with floats stays out of tf.data, which would optimize it in another way: other bits.
        return preprocess(tf.ensure_shape(pixels, (None, None, 3))), message

    return lambda image_bytes: tf.map_fn(decode, image_bytes, parallel_iterations=1, fn_output_signature=specs)


def _decode_or_not(encoded: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """The pixels of a file and no message, or a black pixel and what is wrong; it does not fail.

    Nothing but tf.data goes on after an operation that fails.
    """

    @as_written
    def decode(encoded: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        height, width = tf.unstack(header_size(encoded), 2)
        fits = tf.cast(height, tf.int64) * tf.cast(width, tf.int64) <= MAX_PIXELS
        read = lambda: (decode_upright(encoded, orientation_in_graph(encoded)), "")  # noqa: E731
        message = tf.strings.format("The image " + too_large("{}", "{}"), (height, width))
        return tf.cond(fits, read, lambda: (_NOTHING, message))

    decoded = tf.data.Dataset.from_tensors(encoded).map(decode).ignore_errors()
    broken = tf.data.Dataset.from_tensors((_NOTHING, _BROKEN))
    plain = tf.data.Options()  # of one element there is nothing to tune, which would take as long as to decode it
    plain.autotune.enabled = plain.experimental_optimization.apply_default_optimizations = False
    return decoded.concatenate(broken).take(1).with_options(plain).get_single_element()


def _is_jpeg(encoded: tf.Tensor) -> tf.Tensor:
    return tf.strings.substr(encoded, 0, len(_JPEG)) == _JPEG


def _is_complete(encoded: tf.Tensor) -> tf.Tensor:
    """Whether a file begins as those that are decoded, and does not end in its header."""
    is_png = tf.strings.substr(encoded, 0, len(_PNG)) == _PNG
    return _is_jpeg(encoded) | (is_png & (tf.strings.length(encoded) >= _PNG_HEADER_BYTES))


def _check_kind(number: tf.Tensor, encoded: tf.Tensor) -> tf.Operation:
    message = tf.strings.format("Image {} of the batch is no complete JPEG or PNG file.", number)
    return tf.debugging.Assert(_is_complete(encoded), [message])


def _check_size(number: tf.Tensor, size: tf.Tensor) -> tf.Operation:
    message = tf.strings.format(
        f"Image {{}} of the batch has (height, width) {{}}; it may have {MAX_PIXELS} pixels in all.", (number, size)
    )
    return tf.debugging.Assert(tf.reduce_prod(tf.cast(size, tf.int64)) <= MAX_PIXELS, [message])
