"""RandAugment: random operations on one training image; what is drawn depends on the key alone.

Source: Ekin D. Cubuk et al., "RandAugment: Practical automated data augmentation with a reduced search space", 2020,
arXiv:1909.13719, as in `augment/rand_augment.py` and `augment/augment_ops.py` of the code of NesT.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

from keras_nest.data import operations
from keras_nest.data.checks import check_probability
from keras_nest.data.operations import check_image
from keras_nest.graphs import as_written
from keras_nest.hints import did_you_mean

_TRANSLATE_PIXELS = {224: 100, 128: 40, 96: 30, 32: 10}


class Operation(NamedTuple):
    """One entry of `OPERATIONS`.

    Attributes:
        apply: (image, argument) -> image, or image -> image.
        argument: (level, image size in pixels) -> argument; None where `apply` takes none.
        signed: whether the argument is negated half of the time.
    """

    apply: Callable[..., tf.Tensor]
    argument: Callable[[tf.Tensor, int], tf.Tensor] | None = None
    signed: bool = False


def _factor(level: tf.Tensor, image_size: int) -> tf.Tensor:
    return level * 1.8 + 0.1


def _shear(level: tf.Tensor, image_size: int) -> tf.Tensor:
    return level * 0.3


def _pixels(level: tf.Tensor, image_size: int) -> tf.Tensor:
    return level * float(_TRANSLATE_PIXELS.get(image_size, int(0.3 * image_size)))


def _whole(scale: int) -> Callable[[tf.Tensor, int], tf.Tensor]:
    return lambda level, image_size: tf.cast(level * scale, tf.int32)


OPERATIONS: dict[str, Operation] = {
    "AutoContrast": Operation(operations.autocontrast),
    "Equalize": Operation(operations.equalize),
    "Rotate": Operation(operations.rotate, lambda level, image_size: level * 30.0, signed=True),
    "Posterize": Operation(operations.posterize, _whole(4)),
    "Solarize": Operation(operations.solarize, _whole(256)),
    "Color": Operation(operations.color, _factor),
    "Contrast": Operation(operations.contrast, _factor),
    "Brightness": Operation(operations.brightness, _factor),
    "Sharpness": Operation(operations.sharpness, _factor),
    "ShearX": Operation(operations.shear_x, _shear, signed=True),
    "ShearY": Operation(operations.shear_y, _shear, signed=True),
    "TranslateX": Operation(operations.translate_x, _pixels, signed=True),
    "TranslateY": Operation(operations.translate_y, _pixels, signed=True),
    "Identity": Operation(operations.identity),
    "SolarizeAdd": Operation(operations.solarize_add, _whole(110)),
    "Invert": Operation(operations.invert),
}
"""What RandAugment draws from, by name; the order is part of what a key means."""

_NAMES = tuple(OPERATIONS)


def level_argument(name: str, level: tf.Tensor, image_size: int) -> tf.Tensor | None:
    """The argument of an operation, without its sign.

    A higher level makes Posterize and Solarize weaker. Color, Contrast, Brightness and Sharpness do nothing at level
    0.5, weaken below and strengthen above it.

    Args:
        name: one of `OPERATIONS`.
        level: in [0, 1], the share of the greatest magnitude.
        image_size: side of the image in pixels; a translation is a share of it.

    Returns:
        Degrees, bits, a threshold, a factor, pixels a row, or pixels: float32 or int32. None where the operation takes
        no argument.

    Raises:
        ValueError: unknown name.
    """
    if name not in OPERATIONS:
        raise ValueError(f"There is no operation {name!r}; {did_you_mean(name, _NAMES)}")
    argument = OPERATIONS[name].argument
    return None if argument is None else argument(tf.cast(level, tf.float32), image_size)


class Draw(NamedTuple):
    """What one layer does with an image, scalar tensors.

    Attributes:
        operation: int32, index into `OPERATIONS`.
        applied: bool; where it is false the image stays.
        level: float32 in [0, 1].
        sign: float32, 1 or -1, for the operations that are signed.
    """

    operation: tf.Tensor
    applied: tf.Tensor
    level: tf.Tensor
    sign: tf.Tensor


@dataclasses.dataclass(frozen=True)
class RandAugment:
    """Applies randomly drawn operations, one after the other.

    Each layer draws one of the 16 `OPERATIONS`, Identity among them, and a level, a normally distributed magnitude
    that is limited to [0, num_levels] and divided by num_levels. The same key always gives the same bytes, whatever
    runs in parallel.

    The keys are those of the original: split in one that its cutout would take and one a layer, and that in three, for
    operation, application and level. Three things differ. Signs are repeatable, the second number of the key for
    application; the original draws them from the global state. A magnitude without deviation is divided by num_levels
    too; the original takes 9 for the level then, and rotates by 270 degrees. Magnitude 0 is allowed.

    Typical use::

        augment = RandAugment(image_size=32)
        images.enumerate().map(lambda index, image: augment(image, [seed, index]))

    Attributes:
        num_layers: number of operations an image.
        magnitude: mean strength, from 0 to num_levels.
        magnitude_std: standard deviation of the strength; 0 or None keeps it constant.
        num_levels: the greatest magnitude.
        prob_to_apply: probability of each layer to change the image.
        image_size: side of the images in pixels, which scales translations.

    Raises:
        ValueError: a value is out of its range.
    """

    num_layers: int = 2
    magnitude: float = 9.0
    magnitude_std: float | None = 0.5
    num_levels: int = 10
    prob_to_apply: float = 0.5
    image_size: int = 224

    def __post_init__(self) -> None:
        check_probability("prob_to_apply", self.prob_to_apply)
        for name in ("num_layers", "num_levels", "image_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be 1 or more.")
        if not 0 <= self.magnitude <= self.num_levels:
            raise ValueError(f"magnitude is {self.magnitude}; it must be between 0 and num_levels, {self.num_levels}.")
        if self.magnitude_std is not None and not self.magnitude_std >= 0:
            raise ValueError(f"magnitude_std is {self.magnitude_std}; it must be 0 or more, or None.")

    @as_written
    def __call__(self, image: tf.Tensor, key: tf.Tensor) -> tf.Tensor:
        """The augmented image.

        Args:
            image: uint8 (H, W, 3).
            key: int32 or int64 (2,); the two types draw differently.

        Returns:
            uint8 (H, W, 3).

        Raises:
            ValueError: the image is of another type or shape.
        """
        image = check_image(image)
        for draw in self.draws(key):
            branches = [functools.partial(self._change, name, image, draw) for name in _NAMES]
            chosen = tf.where(draw.applied, draw.operation, _NAMES.index("Identity"))
            # Only the branch that is chosen runs.
            image = tf.ensure_shape(tf.switch_case(chosen, branches), image.shape)
        return image

    def draws(self, key: tf.Tensor) -> list[Draw]:
        """What a key means.

        Args:
            key: int32 or int64 (2,).

        Returns:
            One draw a layer.
        """
        # The original keeps the first of the keys for its cutout.
        _, *layer_keys = tf.unstack(tf.random.split(key, self.num_layers + 1))
        return [self._draw(layer_key) for layer_key in layer_keys]

    def _draw(self, key: tf.Tensor) -> Draw:
        operation, applied, magnitude = tf.unstack(tf.random.split(key, 3))
        drawn = tf.random.stateless_normal([], magnitude, self.magnitude, self.magnitude_std or 0.0)
        coin, sign = tf.unstack(tf.random.stateless_uniform([2], applied))
        return Draw(
            tf.random.stateless_uniform([], operation, 0, len(_NAMES), tf.int32),
            coin < self.prob_to_apply,
            tf.clip_by_value(drawn, 0.0, self.num_levels) / self.num_levels,
            _sign(sign),
        )

    def _change(self, name: str, image: tf.Tensor, draw: Draw) -> tf.Tensor:
        operation, argument = OPERATIONS[name], level_argument(name, draw.level, self.image_size)
        if argument is None:
            return operation.apply(image)
        return operation.apply(image, argument * draw.sign if operation.signed else argument)


def _sign(number: tf.Tensor) -> tf.Tensor:
    """1 or -1, float32, for a number in [0, 1)."""
    return tf.where(number < 0.5, 1.0, -1.0)
