"""The network that tells real images from generated ones, given their class.

None of Keras' own networks fits: those of `keras.applications` normalize over the batch, which mixes real and
generated images and spoils the gradient penalty, and they take images of 32 pixels and more down by 32.
"""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from keras_nest.layers.base import Layer
from keras_nest.models.arguments import plain_arguments
from keras_nest.models.configured import ConfiguredModel
from keras_nest.models.fields import check_image_size, constructor_arguments
from keras_nest.types import Shape, Size, as_size


@keras.saving.register_keras_serializable(package="keras_nest")
class BatchDeviation(Layer):
    """One more channel: the standard deviation over the batch, averaged over everything else.

    (B, H, W, C) -> (B, H, W, C + 1). A generator that always makes the same image is found out by it. Source: Karras
    et al., "Progressive Growing of GANs", ICLR 2018, section 3.
    """

    def call(self, x: Any) -> Any:
        # Without the small number the gradient of the root is infinite where all images are equal.
        deviation = ops.mean(ops.sqrt(ops.var(x, axis=0) + 1e-8))
        return ops.concatenate([x, ops.zeros_like(x[..., :1]) + deviation], axis=-1)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return *input_shape[:-1], input_shape[-1] + 1


@keras.saving.register_keras_serializable(package="keras_nest")
class ProjectedScore(Layer):
    """How real a feature vector looks: a linear function, and the product with an embedding of the class.

    (B, C) and, with classes, integers (B,) -> (B,). Source: Miyato, Koyama, "cGANs with Projection Discriminator", ICLR
    2018, equation 3.

    Args:
        num_classes: 0 leaves the product out.
        **kwargs: the usual layer arguments.
    """

    def __init__(self, num_classes: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.num_classes = num_classes

    def build(self, features_shape: Shape, classes_shape: Shape | None = None) -> None:
        channels = features_shape[-1]
        normal = keras.initializers.RandomNormal(stddev=channels**-0.5)
        self.kernel = self.add_weight(name="kernel", shape=(channels,), initializer=normal)
        self.bias = self.add_weight(name="bias", shape=(), initializer="zeros")
        if self.num_classes:
            shape = (self.num_classes, channels)
            self.embeddings = self.add_weight(name="embeddings", shape=shape, initializer=normal.clone())

    def call(self, features: Any, classes: Any = None) -> Any:
        direction = self.kernel
        if self.num_classes:
            # Not a gather, whose gradient is sparse and has no second one.
            direction = direction + ops.matmul(ops.one_hot(classes, self.num_classes), self.embeddings)
        return ops.sum(features * direction, axis=-1) + self.bias

    def compute_output_shape(self, features_shape: Shape, classes_shape: Shape | None = None) -> Shape:
        return features_shape[:-1]

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "num_classes": self.num_classes}


@keras.saving.register_keras_serializable(package="keras_nest")
class Discriminator(ConfiguredModel):
    """A small residual network: images (B, H, W, channels) in [-1, 1] -> scores (B,), the larger the more real.

    With classes the input is a pair: images, and integers (B,). A convolution embeds the images; every width after the
    first belongs to a residual block that halves the map, and one more block sees the deviation over the batch. There
    is no normalization.

    Args:
        image_size: side or (height, width) in pixels.
        num_classes: classes of the images; 0 makes a network without.
        in_channels: channels of the images.
        widths: channels of the stem and of each residual block.
        stem_stride: step of the stem in pixels; above 1 it saves time.
        name: name of the model.

    Raises:
        ValueError: a field has no meaning, or the image cannot be halved so often.
    """

    @plain_arguments
    def __init__(
        self,
        image_size: int | Size = 64,
        num_classes: int = 0,
        in_channels: int = 3,
        widths: Sequence[int] = (64, 128, 256, 512, 512),
        stem_stride: int = 1,
        name: str | None = "discriminator",
    ) -> None:
        config = constructor_arguments(Discriminator, locals())
        config |= {"image_size": as_size(image_size), "widths": tuple(widths)}
        _check_fields(config)
        images = keras.Input((*config["image_size"], in_channels), name="images")
        inputs: list[Any] = [images]
        if num_classes:
            inputs.append(keras.Input((), dtype="int32", name="class_index"))
        x = _conv(widths[0], 3 if stem_stride == 1 else 2 * stem_stride, "stem", stem_stride)(images)
        for index, width in enumerate(widths[1:]):
            x = _residual(x, width, f"block_{index}", halve=True)
        x = _residual(BatchDeviation(name="deviation")(x), widths[-1], "last_block", halve=False)
        features = keras.layers.Flatten(name="features")(_activate(x, "last"))
        features = keras.layers.Dense(widths[-1], kernel_initializer="he_normal", name="hidden")(features)
        features = _activate(features, "hidden")
        scores = ProjectedScore(num_classes, name="score")(features, *inputs[1:])
        super().__init__(inputs if num_classes else images, scores, config, name)


def _conv(width: int, kernel: int, name: str, stride: int = 1) -> keras.layers.Layer:
    return keras.layers.Conv2D(width, kernel, strides=stride, padding="same", kernel_initializer="he_normal", name=name)


def _activate(x: Any, name: str) -> Any:
    return keras.layers.LeakyReLU(0.2, name=f"{name}_activation")(x)


def _residual(x: Any, width: int, name: str, halve: bool) -> Any:
    """Two convolutions and a shortcut, which add up to twice the variance, and that is taken back."""
    y = _conv(x.shape[-1], 3, f"{name}_conv_0")(_activate(x, f"{name}_0"))
    y = _conv(width, 3, f"{name}_conv_1")(_activate(y, f"{name}_1"))
    shortcut = _conv(width, 1, f"{name}_shortcut")(x)
    y = keras.layers.Add(name=f"{name}_sum")([y, shortcut])
    y = keras.layers.Rescaling(0.5**0.5, name=f"{name}_scale")(y)
    return keras.layers.AveragePooling2D(2, name=f"{name}_half")(y) if halve else y


def _check_fields(config: dict[str, Any]) -> None:
    if len(config["widths"]) < 2 or min(config["widths"]) < 1:
        raise ValueError(f"widths is {config['widths']}; it must hold two or more positive numbers.")
    if config["stem_stride"] < 1:
        raise ValueError(f"stem_stride is {config['stem_stride']}; it must be 1 or more.")
    halvings = len(config["widths"]) - 1
    reason = f"a stem of stride {config['stem_stride']} and {halvings} halvings"
    check_image_size(config["image_size"], config["stem_stride"] * 2**halvings, reason)
