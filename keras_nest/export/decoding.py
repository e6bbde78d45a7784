"""From encoded images to the pixels of a model, inside the graph."""

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from keras_nest.data.decoding import decode_upright, header_size
from keras_nest.data.image_files import MAX_PIXELS
from keras_nest.data.orientation import orientation_in_graph
from keras_nest.export.module import image_shape, model_config
from keras_nest.preprocessing import EvalPreprocessing
from keras_nest.registry import preprocessing_spec
from keras_nest.specs import PreprocessingSpec

_JPEG, _PNG = b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"
# Signature, and the header chunk that comes first in every PNG file.
_PNG_HEADER_BYTES = 33


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


def _is_jpeg(encoded: tf.Tensor) -> tf.Tensor:
    return tf.strings.substr(encoded, 0, len(_JPEG)) == _JPEG


def _check_kind(number: tf.Tensor, encoded: tf.Tensor) -> tf.Operation:
    is_png = tf.strings.substr(encoded, 0, len(_PNG)) == _PNG
    has_header = tf.strings.length(encoded) >= _PNG_HEADER_BYTES
    message = tf.strings.format("Image {} of the batch is no complete JPEG or PNG file.", number)
    return tf.debugging.Assert(_is_jpeg(encoded) | (is_png & has_header), [message])


def _check_size(number: tf.Tensor, size: tf.Tensor) -> tf.Operation:
    message = tf.strings.format(
        f"Image {{}} of the batch has (height, width) {{}}; it may have {MAX_PIXELS} pixels in all.", (number, size)
    )
    return tf.debugging.Assert(tf.reduce_prod(tf.cast(size, tf.int64)) <= MAX_PIXELS, [message])
