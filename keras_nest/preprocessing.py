"""The evaluation preprocessing of a model, as a Keras layer."""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from keras_nest.layers.image_blocks import Shape, Size
from keras_nest.models.base import as_size
from keras_nest.registry import preprocessing_spec

_METHODS = {"bilinear": tf.image.ResizeMethod.BILINEAR, "bicubic": tf.image.ResizeMethod.BICUBIC}


def preprocessor(name_or_model: str | keras.Model) -> "EvalPreprocessing":
    """Evaluation preprocessing of a published model, or of a model at hand (a fine-tuned one carries its own).

    Args:
        name_or_model: a name of `keras_nest.list_models`, or a model.

    Returns:
        A layer: uint8 or [0, 1] images of any size -> normalised float32 batch of the model's size.

    Raises:
        ValueError: unknown name, or a model without specification.
    """
    spec, image_size = preprocessing_spec(name_or_model)
    return EvalPreprocessing(image_size=image_size, **spec, name="preprocessor")


@keras.saving.register_keras_serializable(package="keras_nest")
class EvalPreprocessing(keras.layers.Layer):
    """Resizes, crops centrally and normalises images as the evaluation of the paper does.

    Input: (B, h, w, 3) or (h, w, 3), uint8 in 0..255 or float in [0, 1], of any size; or a list of images of different
    sizes. Output: float32 (B, H, W, 3); one image gives (H, W, 3). Works eagerly, inside `tf.data`, and in a Keras
    model, whose `Input` decides the dtype: uint8 images need `dtype="uint8"` there.

    The image is scaled until the crop takes `crop_ratio` of it, bilinearly and without antialiasing, and is not
    scaled at all when it has the right size already. Scaling to a short side of 256 and cropping 224 is
    crop_ratio 0.875. With `stretch` the whole image is squeezed into the size instead.

    Sources: NesT reference `libml/preprocess.py`, evaluation branch; ViT reference `vit_jax/input_pipeline.py`,
    evaluation branch (stretched), and `vit_jax/preprocess.py` (truncated; stretched or cropped).

    Args:
        image_size: side or (height, width) of the output in pixels.
        mean: mean of each channel of [0, 1] images.
        std: deviation of each channel of [0, 1] images.
        crop_ratio: share of the short side that the central crop keeps, in (0, 1].
        interpolation: "bilinear" or "bicubic".
        stretch: resize to the size without keeping the aspect ratio, and crop nothing.
        truncate: cut the resized pixels down to whole numbers of 0..255, as LiT does; images must then be uint8.
        **kwargs: the usual layer arguments.

    Raises:
        ValueError: unknown interpolation, or a ratio outside (0, 1] or beside `stretch`.
    """

    def __init__(
        self,
        image_size: int | Size,
        mean: Sequence[float],
        std: Sequence[float],
        crop_ratio: float = 1.0,
        interpolation: str = "bilinear",
        stretch: bool = False,
        truncate: bool = False,
        **kwargs: Any,
    ) -> None:
        # Inputs are integers or images of any size; Keras must not cast or check them.
        super().__init__(**{"trainable": False, "autocast": False, "dtype": "float32", **kwargs})
        if interpolation not in _METHODS:
            raise ValueError(f"interpolation is {interpolation!r}; it must be one of {', '.join(_METHODS)}.")
        if not 0 < crop_ratio <= 1:
            raise ValueError(f"crop_ratio is {crop_ratio}; it must be in (0, 1].")
        if stretch and crop_ratio != 1:
            raise ValueError(f"crop_ratio is {crop_ratio}; with stretch=True nothing is cropped, so leave it at 1.")
        self.image_size = as_size(image_size)
        self.mean, self.std = tuple(mean), tuple(std)
        self.crop_ratio, self.interpolation = crop_ratio, interpolation
        self.stretch, self.truncate = stretch, truncate
        # As the reference writes it, int(256 / 224 * size): the division first decides the last pixel.
        self.resized = tuple(int((1 / crop_ratio) * side) for side in self.image_size)

    def __call__(self, images: Any, **options: Any) -> Any:
        """Preprocesses; see the class for shapes. The options of Keras' layers, such as `training`, change nothing."""
        if isinstance(images, keras.KerasTensor):
            return super().__call__(images, **options)
        if not isinstance(images, (list, tuple)):
            return self.call(images)
        if not images:
            raise ValueError("The list of images is empty.")
        return tf.stack([self.call(image) for image in images])

    def call(self, images: Any) -> Any:
        images = tf.convert_to_tensor(images)
        self._check(images)
        if self.truncate:
            images = tf.floor(self._crop(self._resize(tf.cast(images, tf.float32)))) / 255.0
        else:
            images = self._crop(self._resize(self._as_unit_floats(images)))
        return (images - tf.constant(self.mean, tf.float32)) / tf.constant(self.std, tf.float32)

    def _check(self, images: tf.Tensor) -> None:
        if images.dtype != tf.uint8 and (self.truncate or not images.dtype.is_floating):
            allowed = "uint8 in 0..255" if self.truncate else "uint8 in 0..255 or floats in [0, 1]"
            raise ValueError(f"Images have dtype {images.dtype.name}; they must be {allowed}.")
        channels = len(self.mean)
        if images.shape.rank not in (3, 4) or images.shape[-1] not in (None, channels):
            raise ValueError(
                f"Images have the shape {images.shape}; it must be (h, w, {channels}) or (B, h, w, {channels})."
            )

    @staticmethod
    def _as_unit_floats(images: tf.Tensor) -> tf.Tensor:
        floats = tf.cast(images, tf.float32)
        return floats / 255.0 if images.dtype == tf.uint8 else floats

    def _resize(self, images: tf.Tensor) -> tf.Tensor:
        """Scales so that the target just fits inside, keeping the aspect ratio unless it stretches."""
        size = tf.constant(self.resized)
        if not self.stretch:
            sides = tf.cast(tf.shape(images)[-3:-1], tf.float32)
            # As the reference, the rounded ratio first: sides of half a pixel then round the same way.
            ratio = tf.reduce_max(tf.constant(self.resized, tf.float32) / sides)
            size = tf.cast(tf.round(sides * ratio), tf.int32)
        return tf.image.resize(images, size, _METHODS[self.interpolation])

    def _crop(self, images: tf.Tensor) -> tf.Tensor:
        height, width = self.image_size
        top, left = tf.unstack((tf.shape(images)[-3:-1] - [height, width]) // 2)
        cropped = images[..., top : top + height, left : left + width, :]
        return tf.ensure_shape(cropped, (*images.shape[:-3], height, width, len(self.mean)))

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return *input_shape[:-3], *self.image_size, input_shape[-1]

    def get_config(self) -> dict[str, Any]:
        fields = ("image_size", "mean", "std", "crop_ratio", "interpolation", "stretch", "truncate")
        return {**super().get_config(), **{field: getattr(self, field) for field in fields}}
