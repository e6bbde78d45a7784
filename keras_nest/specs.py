"""Preprocessing specifications: how images are resized, cropped and normalized before a model sees them.

From one `PreprocessingSpec` follow the layer `EvalPreprocessing`, the recipes of data sets, every export, and where a
picture of an image's pixels lies. Models hold it as a dictionary, `model.config["preprocessing"]`, and so do their
files.
"""

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from numbers import Integral
from typing import Any, NamedTuple, Self

import tensorflow as tf

from keras_nest.hints import did_you_mean
from keras_nest.types import Size
from keras_nest.value_range import ValueRange, check_value_range

INTERPOLATIONS = ("bilinear", "bicubic")


class Geometry(NamedTuple):
    """Where the crop lies in a resized image.

    Attributes:
        resized: int32 (2,), height and width to which the image is resized.
        corner: int32 (2,), row and column of the resized image where the crop begins.
    """

    resized: tf.Tensor
    corner: tf.Tensor


@dataclasses.dataclass(frozen=True, eq=False)
class PreprocessingSpec(Mapping[str, Any]):
    """Evaluation preprocessing of a model: pixels in [0, 1] are resized, cropped centrally, and normalized.

    It is also a mapping, that of `to_dict`, and equals every dictionary that says the same.

    Attributes:
        mean: mean of each channel of [0, 1] images, or one for all channels; any sequence becomes a tuple.
        std: standard deviation of each channel of [0, 1] images, or one for all channels, likewise.
        crop_ratio: fraction of the short side that the central crop keeps, in (0, 1].
        interpolation: one of `INTERPOLATIONS`; without antialiasing, but for `pillow`.
        stretch: resize to the size without keeping the aspect ratio, and crop nothing.
        truncate: cut the resized pixels down to whole numbers of 0..255.
        value_range: of floats, (0, 1) or (0, 255); None goes by their values.
        pillow: resize, round and crop as Pillow and torchvision do, which models of PyTorch were evaluated with:
            antialiased, in whole numbers of 0..255.

    Raises:
        ValueError: a field has no meaning, or `crop_ratio` stands beside `stretch`.
    """

    mean: Sequence[float]
    std: Sequence[float]
    crop_ratio: float = 1.0
    interpolation: str = "bilinear"
    stretch: bool = False
    truncate: bool = False
    value_range: ValueRange | None = None
    pillow: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "mean", _numbers("mean", self.mean))
        object.__setattr__(self, "std", _numbers("std", self.std))
        object.__setattr__(self, "value_range", check_value_range(self.value_range))
        if not min(self.std) > 0:
            raise ValueError(f"std is {list(self.std)}; each must be above 0.")
        if not max(self.mean) <= 1:
            raise ValueError(
                f"mean is {list(self.mean)}; it must be that of pixels in [0, 1]: divide mean and std by 255."
            )
        if len({1, len(self.mean), len(self.std)}) > 2:
            raise ValueError(
                f"mean has {len(self.mean)} values and std {len(self.std)}; both must have one for each channel."
            )
        if self.interpolation not in INTERPOLATIONS:
            known = ", ".join(INTERPOLATIONS)
            raise ValueError(f"interpolation is {self.interpolation!r}; it must be one of {known}.")
        if self.truncate and self.pillow:
            raise ValueError("truncate and pillow are both true; pillow=True rounds the pixels, so leave truncate out.")
        if not 0 < self.crop_ratio <= 1:
            raise ValueError(f"crop_ratio is {self.crop_ratio}; it must be in (0, 1].")
        if self.stretch and self.crop_ratio != 1:
            raise ValueError(
                f"crop_ratio is {self.crop_ratio}; with stretch=True nothing is cropped, so leave it at 1."
            )

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Self:
        """Inverse of `to_dict`.

        Args:
            fields: `mean` and `std`, and of the others those that differ from their defaults.

        Raises:
            ValueError: it is no dictionary, a field is unknown or missing, or has no meaning.
        """
        if not isinstance(fields, Mapping):
            raise ValueError(f"preprocessing is {fields!r}; it must be a dictionary with mean and std.")
        known = [field.name for field in dataclasses.fields(cls)]
        for name in fields:
            if name not in known:
                raise ValueError(f"preprocessing has no field {name!r}; {did_you_mean(str(name), known)}")
        for name in ("mean", "std"):
            if name not in fields:
                raise ValueError(f"preprocessing lacks {name}; it must hold mean and std, one number for each channel.")
        return cls(**fields)

    def to_dict(self) -> dict[str, Any]:
        """The specification as JSON and .keras files hold it.

        What is switched off is left out: `crop_ratio` of a stretched image, `truncate`, `pillow`, `value_range`.
        """
        fields: dict[str, Any] = {"mean": list(self.mean), "std": list(self.std)}
        fields |= {"stretch": True} if self.stretch else {"crop_ratio": self.crop_ratio}
        fields["interpolation"] = self.interpolation
        fields |= {name: True for name in ("truncate", "pillow") if getattr(self, name)}
        return fields | ({"value_range": list(self.value_range)} if self.value_range else {})

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Mapping):
            return NotImplemented
        try:
            return dataclasses.asdict(self) == dataclasses.asdict(self.from_dict(other))
        except ValueError:
            return False

    def __getitem__(self, name: str) -> Any:
        return self.to_dict()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.to_dict())

    def __len__(self) -> int:
        return len(self.to_dict())

    # Called where a data set is traced: AutoGraph would translate `dataclasses.replace` for a third of a second.
    @tf.autograph.experimental.do_not_convert
    def pixels_only(self, channels: int) -> Self:
        """The same without normalization, for models that have it inside: pixels stay in [0, 1].

        Args:
            channels: of the images.
        """
        return dataclasses.replace(self, mean=(0.0,) * channels, std=(1.0,) * channels)

    def for_channels(self, channels: int) -> Self:
        """The same for images of another number of channels: each gets the average of those there are.

        Args:
            channels: of the images.

        Raises:
            ValueError: it is no whole number.
        """
        if not isinstance(channels, Integral):
            raise ValueError(f"in_channels is {channels!r}; it must be a whole number.")
        mean, std = (sum(values) / len(values) for values in (self.mean, self.std))
        return dataclasses.replace(self, mean=(mean,) * channels, std=(std,) * channels)

    @tf.autograph.experimental.do_not_convert
    def broadcast(self, channels: int) -> Self:
        """The same with a value of its own for each channel, where one may stand for all.

        Args:
            channels: of the images.

        Raises:
            ValueError: there are several values, but for other channels.
        """

        def spread(name: str, values: Sequence[float]) -> Sequence[float]:
            if len(values) not in (1, channels):
                raise ValueError(
                    f"preprocessing has {name} {list(values)}; it must be a list of one number, or one for each of "
                    f"{channels} channels."
                )
            return [*values] * (channels // len(values))

        return dataclasses.replace(self, mean=spread("mean", self.mean), std=spread("std", self.std))

    def resized(self, image_size: Size) -> Size:
        """The size to which an image of the model's aspect ratio is resized before the crop.

        Args:
            image_size: height and width of the crop in pixels.
        """
        if self.pillow:
            height, width = (math.floor(side / self.crop_ratio) for side in image_size)
            return height, width
        # As the reference writes it, int(256 / 224 * size): the division first decides the last pixel.
        height, width = (int((1 / self.crop_ratio) * side) for side in image_size)
        return height, width

    def geometry(self, sides: Any, image_size: Size) -> Geometry:
        """How an image is resized, and where it is cropped; works inside graphs.

        Args:
            sides: integers (2,), height and width of the image in pixels.
            image_size: height and width of the crop.
        """
        resized = tf.constant(self.resized(image_size))
        if self.pillow:
            return _pillow_geometry(tf.cast(sides, tf.int32), resized, image_size, self.stretch)
        if not self.stretch:
            sides = tf.cast(sides, tf.float32)
            # As the reference, the rounded ratio first: sides of half a pixel then round the same way.
            ratio = tf.reduce_max(tf.cast(resized, tf.float32) / sides)
            resized = tf.cast(tf.round(sides * ratio), tf.int32)
        return Geometry(resized, (resized - image_size) // 2)


def _pillow_geometry(sides: tf.Tensor, resized: tf.Tensor, image_size: Size, stretch: bool) -> Geometry:
    """As torchvision's Resize and CenterCrop, and timm's ResizeKeepRatio where the model's images are oblong."""
    if not stretch:
        sides, targets = tf.cast(sides, tf.float64), tf.cast(resized, tf.float64)
        if image_size[0] == image_size[1]:
            resized = tf.cast(tf.floor(targets * sides / tf.reduce_min(sides)), tf.int32)
        else:
            resized = tf.cast(tf.round(sides / tf.reduce_min(sides / targets)), tf.int32)
    # Half a pixel goes to the even number, as Python rounds.
    corner = tf.round(tf.cast(resized - image_size, tf.float32) / 2)
    return Geometry(resized, tf.cast(corner, tf.int32))


def _numbers(name: str, values: Any) -> tuple[float, ...]:
    """One number a channel."""
    try:
        numbers = () if isinstance(values, str) else tuple(map(float, values))
    except (TypeError, ValueError):
        numbers = ()
    if not numbers:
        raise ValueError(f"{name} is {values!r}; it must be a list of one number for each channel.")
    return numbers


# Source: NesT reference `libml/preprocess.py` and the published configurations.
IMAGENET = PreprocessingSpec((0.485, 0.456, 0.406), (0.229, 0.224, 0.225), crop_ratio=224 / 256)
CIFAR10 = PreprocessingSpec((0.4914, 0.4822, 0.4465), (0.2471, 0.2435, 0.2616))
CIFAR100 = PreprocessingSpec((0.5071, 0.4867, 0.4408), (0.2675, 0.2565, 0.2761))
# ViT and Mixer: the whole image is stretched to the size, and pixels come into [-1, 1].
# Source: reference `vit_jax/input_pipeline.py`, evaluation branch.
STRETCHED = PreprocessingSpec((0.5,) * 3, (0.5,) * 3, stretch=True)
