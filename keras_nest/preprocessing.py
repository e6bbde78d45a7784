"""The evaluation preprocessing of a model as a Keras layer: what Keras Hub calls an image converter."""

import dataclasses
import logging
from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from keras_nest.backends import is_traced, on_tensorflow, require_tensorflow
from keras_nest.graphs import as_written
from keras_nest.pixels import as_images
from keras_nest.registry import preprocessing_spec
from keras_nest.specs import Geometry, PreprocessingSpec
from keras_nest.types import Shape, Size, as_size
from keras_nest.value_range import LEVELS, ValueRange, infer_scales

_LOGGER = logging.getLogger(__name__)
# A longer strip is cut before it is scaled, since all but its middle would be cropped away: 1 x 10,000 pixels would
# become 256 x 2,560,000.
_LONGEST = 32  # times what the crop sees of it


def preprocessor(name_or_model: str | keras.Model) -> "EvalPreprocessing":
    """Evaluation preprocessing of a published model, or of a model at hand (a fine-tuned one carries its own).

    Args:
        name_or_model: a name of `keras_nest.list_models`, or a model.

    Returns:
        A layer: images of any size, uint8 or floats -> normalized float32 batch of the model's size.

    Raises:
        ValueError: unknown name, or a model without specification.
    """
    spec, image_size = preprocessing_spec(name_or_model)
    known = max(len(spec.mean), len(spec.std))
    channels = getattr(name_or_model, "config", {}).get("in_channels", known)
    return EvalPreprocessing(image_size, **spec.broadcast(channels), name="preprocessor")


@keras.saving.register_keras_serializable(package="keras_nest")
class EvalPreprocessing(keras.layers.Layer):
    """Resizes, crops centrally and normalizes images as the evaluation of the paper does.

    Input: (B, h, w, C) or (h, w, C) of any size, or a list of images of different sizes. Output: float32 (B, H, W, C);
    one image gives (H, W, C). Works eagerly, inside `tf.data`, and on TensorFlow's backend in a Keras model, whose
    `Input` decides the dtype: uint8 images need `dtype="uint8"` there.

    Pixels are uint8 in 0..255, floats in [0, 1], or floats in 0..255, as `keras.utils.img_to_array` and
    `image_dataset_from_directory` give them. Without `value_range`, values above 1.5 show the latter, and so each call
    decides for all of its images; the first time is logged. Images of Pillow are taken, too, and gray and RGBA images
    for models of RGB: `keras_nest.pixels.as_images` has the rules. What fits nothing of this, such as values that are
    normalized already, is refused.

    The image is scaled until the crop takes `crop_ratio` of it, bilinearly and without antialiasing, and is not
    scaled at all when it has the right size already. Scaling to a short side of 256 and cropping 224 is
    crop_ratio 0.875. With `stretch` the whole image is squeezed into the size instead.

    Sources: NesT reference `libml/preprocess.py`, evaluation branch; ViT reference `vit_jax/input_pipeline.py`,
    evaluation branch (stretched), and `vit_jax/preprocess.py` (truncated; stretched or cropped); of `pillow`
    torchvision's `Resize` and `CenterCrop`, and Pillow's `Resample.c`.

    Args:
        image_size: side or (height, width) of the output in pixels.
        mean: mean of each channel of [0, 1] images.
        std: standard deviation of each channel of [0, 1] images.
        crop_ratio: fraction of the short side that the central crop keeps, in (0, 1].
        interpolation: "bilinear" or "bicubic".
        stretch: resize to the size without keeping the aspect ratio, and crop nothing.
        truncate: cut the resized pixels down to whole numbers of 0..255, as LiT does; floats in [0, 1] are rounded to
            them first.
        value_range: of floats, (0, 1) or (0, 255); None goes by their values, which a dark image does not show.
        pillow: resize, round and crop as Pillow and torchvision do: antialiased, in whole numbers of 0..255.
        **kwargs: the usual layer arguments.

    Raises:
        ValueError: unknown interpolation or range, or a ratio outside (0, 1] or beside `stretch`.
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
        value_range: ValueRange | None = None,
        pillow: bool = False,
        **kwargs: Any,
    ) -> None:
        # Inputs are integers or images of any size; Keras must not cast or check them.
        super().__init__(**{"trainable": False, "autocast": False, "dtype": "float32", **kwargs})
        self.image_size = as_size(image_size)
        spec = PreprocessingSpec(mean, std, crop_ratio, interpolation, stretch, truncate, value_range, pillow)
        self.spec, self.mean, self.std = spec, spec.mean, spec.std
        self.crop_ratio, self.interpolation = spec.crop_ratio, spec.interpolation
        self.stretch, self.truncate, self.value_range = spec.stretch, spec.truncate, spec.value_range
        self.resized = spec.resized(self.image_size)
        self._told = False

    @as_written
    def __call__(self, images: Any, **options: Any) -> Any:
        """Preprocesses; see the class for shapes. The options of Keras' layers, such as `training`, change nothing.

        Raises:
            ValueError: images that `keras_nest.pixels.as_images` refuses; or a call inside a model where Keras does not
                run on TensorFlow.
        """
        symbolic = isinstance(images, keras.KerasTensor)
        if symbolic or is_traced(images):
            require_tensorflow("keras_nest.preprocessor inside a model", "map it over the data: data.map(preprocess)")
        if symbolic:
            return super().__call__(images, **options)
        prepared = self.call(images)
        # Eagerly it gives what the models of this backend take; inside `tf.data` it stays with TensorFlow.
        return prepared if on_tensorflow() or not tf.executing_eagerly() else keras.ops.convert_to_tensor(prepared)

    def call(self, images: Any) -> Any:
        found = as_images(images, len(self.mean), self.value_range)
        several = isinstance(found, list)
        tensors = found if several else [found]
        scales = infer_scales(tensors, self.value_range)
        self._tell(tensors, scales)
        outputs = [self._prepare(image, scale) for image, scale in zip(tensors, scales, strict=True)]
        return tf.stack(outputs) if several else outputs[0]

    def _prepare(self, images: tf.Tensor, scale: tf.Tensor) -> tf.Tensor:
        """One image or batch, in [0, 1] once it is divided by the scale."""
        floats = tf.cast(images, tf.float32)
        if self.truncate or self.spec.pillow:
            # Levels are whole numbers, which division and multiplication by 255 may miss.
            levels = tf.where(scale > 1, floats, tf.round(floats * 255.0))
            fitted = self._fit(levels)
            unit = (tf.floor(fitted) if self.truncate else fitted) / 255.0
        else:
            unit = self._fit(floats / scale)
        return (unit - tf.constant(self.mean, tf.float32)) / tf.constant(self.std, tf.float32)

    def _tell(self, images: Sequence[tf.Tensor], scales: Sequence[tf.Tensor]) -> None:
        """Says once that floats are taken for levels; a graph cannot say it once."""
        if self._told or self.value_range is not None or not tf.executing_eagerly():
            return
        if any(image.dtype.is_floating and scale > 1 for image, scale in zip(images, scales, strict=True)):
            self._told = True
            _LOGGER.warning("Floats above 1 are taken for levels of 0..255; value_range=%s says so for all.", LEVELS)

    def _fit(self, images: tf.Tensor) -> tf.Tensor:
        """Resizes and crops to the size of the output."""
        images = images if self.stretch else self._middle(images)
        (resized, corner), (height, width) = self.geometry(tf.shape(images)[-3:-1]), self.image_size
        if self.spec.pillow:
            # Its passes, along rows first, end with whole numbers of 0..255 each.
            for shape in (tf.stack([tf.shape(images)[-3], resized[1]]), resized):
                levels = tf.image.resize(images, shape, self.interpolation, antialias=True)
                images = tf.clip_by_value(tf.floor(levels + 0.5), 0.0, 255.0)
        else:
            images = tf.image.resize(images, resized, self.interpolation)
        top, left = tf.unstack(corner)
        cropped = images[..., top : top + height, left : left + width, :]
        return tf.ensure_shape(cropped, (*images.shape[:-3], height, width, len(self.mean)))

    def geometry(self, sides: Any) -> Geometry:
        """How an image is resized, and where it is cropped.

        Args:
            sides: integers (2,), height and width of the image in pixels.
        """
        return self.spec.geometry(sides, self.image_size)

    def _middle(self, images: tf.Tensor) -> tf.Tensor:
        """Of a strip the middle part, which alone can be seen; every other image as it is."""
        sides = tf.shape(images)[-3:-1]
        ratios = tf.cast(sides, tf.float64) / tf.constant(self.resized, tf.float64)
        short = tf.maximum(sides[tf.argmin(ratios)], 1)
        seen = tf.reduce_min(ratios) * self.resized
        # As often as the short side fits: that is a whole number of pixels once it is scaled, so that none is moved.
        cut = tf.maximum(sides - tf.cast(_LONGEST * seen, tf.int32), 0) // (2 * short) * short
        (top, left), (bottom, right) = tf.unstack(cut), tf.unstack(sides - cut)
        return images[..., top:bottom, left:right, :]

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return *input_shape[:-3], *self.image_size, len(self.mean)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "image_size": self.image_size, **dataclasses.asdict(self.spec)}
