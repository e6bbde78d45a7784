"""What all image models share: configuration, endpoints, head and pyramid."""

import math
import os
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from numbers import Integral
from typing import Any, ClassVar, Self

import keras

from keras_nest.layers.image_blocks import Size

# Evaluation preprocessing: pixels in [0, 1] are resized so that the crop takes `crop_ratio` of the short side, cropped
# centrally, and normalised. Source: reference `libml/preprocess.py` and the published configurations.
IMAGENET_PREPROCESSING = {
    "mean": [0.485, 0.456, 0.406],
    "std": [0.229, 0.224, 0.225],
    "crop_ratio": 224 / 256,
    "interpolation": "bilinear",
}
CIFAR10_PREPROCESSING = {
    "mean": [0.4914, 0.4822, 0.4465],
    "std": [0.2471, 0.2435, 0.2616],
    "crop_ratio": 1.0,
    "interpolation": "bilinear",
}
# ViT and Mixer: the whole image is squeezed into the size, and pixels into [-1, 1].
# Source: reference `vit_jax/input_pipeline.py`, evaluation branch.
STRETCHED_PREPROCESSING = {
    "mean": [0.5, 0.5, 0.5],
    "std": [0.5, 0.5, 0.5],
    "stretch": True,
    "interpolation": "bilinear",
}


class ConfiguredModel(keras.Model):
    """A functional Keras model that is saved as the arguments that built it.

    Attributes:
        config: these arguments.
    """

    config: dict[str, Any]

    def get_config(self) -> dict[str, Any]:
        """Arguments of the constructor, and which layers are frozen."""
        frozen = [layer.name for layer in self.layers if not layer.trainable]
        return {**self.config, "name": self.name, **({"frozen_layers": frozen} if frozen else {})}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> Self:
        """Inverse of `get_config`."""
        config = dict(config)
        frozen = config.pop("frozen_layers", ())
        model = cls(**config)
        for layer in frozen:
            model.get_layer(layer).trainable = False
        return model


class ImageModel(ConfiguredModel):
    """A functional Keras model that knows its configuration and names its intermediates.

    Attributes:
        endpoints: every named intermediate as a symbolic tensor, so that `keras.Model(model.input,
            model.endpoints["level_2"])` computes it. Keys are Flax module paths, and the common names stem,
            level_1 … level_n (maps (B, H, W, C) before pooling, without final norm), features (the normalised last
            map), pre_logits (what the head sees, mostly (B, C)) and logits.
        config: the arguments that built the model.
        HEAD: names of the layers that belong to the classifier.
        NECK: names of optional layers between pooling and head, which a head is worth nothing without.
        FIXED_BY_IMAGE_SIZE: names of layers whose weights no other number of patches fits.
        omitted: modules (Flax paths) of the full architecture that this model lacks, and whose checkpoint tensors it
            skips.

    Args:
        inputs: symbolic images (B, H, W, channels).
        endpoints: see above.
        config: arguments of the subclass, as `get_config` returns them.
        pyramid: maps (B, H, W, C) to output instead of logits or embedding.
        omitted: see above; the head need not be named.
        name: name of the model; "+" becomes "_", since TensorFlow allows no other in a scope.
    """

    HEAD: ClassVar[tuple[str, ...]] = ("Dense_0",)
    NECK: ClassVar[tuple[str, ...]] = ()
    FIXED_BY_IMAGE_SIZE: ClassVar[tuple[str, ...]] = ()

    def __init__(
        self,
        inputs: keras.KerasTensor,
        endpoints: dict[str, keras.KerasTensor],
        config: Mapping[str, Any],
        pyramid: dict[str, keras.KerasTensor] | None = None,
        omitted: Sequence[str] = (),
        name: str | None = None,
    ) -> None:
        outputs = pyramid or endpoints.get("logits", endpoints.get("pre_logits"))
        super().__init__(inputs=inputs, outputs=outputs, name=name and name.replace("+", "_"))
        self.endpoints = endpoints
        self.config = dict(config)
        self.omitted = tuple(omitted) if "logits" in endpoints else (*omitted, *self.HEAD)

    @property
    def image_size(self) -> Size:
        """Height and width of the input in pixels."""
        return tuple(self.config["image_size"])

    @property
    def num_classes(self) -> int:
        """Size of the head; 0 without one."""
        return self.config["num_classes"] if "logits" in self.endpoints else 0

    @classmethod
    def infer_fields(
        cls, fields: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]], new_head: bool = False
    ) -> dict[str, Any]:
        """Fields that the shapes of a checkpoint's tensors show.

        Args:
            fields: the other fields.
            shapes: Flax path -> shape.
            new_head: the checkpoint's head will not be used, nor what only it needs.

        Returns:
            `num_classes` (0 if there is no head) and, where the position embedding shows it, `image_size`.
        """
        head = shapes.get(f"{cls.HEAD[-1]}/kernel")
        return {"num_classes": head[-1] if head else 0}


def read_model(path: str | os.PathLike[str]) -> ImageModel:
    """Reads a .keras file of this package.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is damaged, or holds another model.
    """
    if "://" not in os.fspath(path) and not os.path.isfile(path):
        raise FileNotFoundError(f"There is no model {os.fspath(path)}.")
    try:
        model = keras.saving.load_model(path, compile=False)
    except (ValueError, TypeError, OSError, KeyError, zipfile.BadZipFile):
        raise ValueError(f"{os.fspath(path)} cannot be read as a Keras model; is it a complete .keras file?") from None
    if not isinstance(model, ImageModel):
        raise ValueError(f"{os.fspath(path)} holds a {type(model).__name__}, which is no model of keras_nest.")
    return model


def classifier_endpoints(
    features: keras.KerasTensor, num_classes: int, policy: keras.DTypePolicy, **head: Any
) -> dict[str, keras.KerasTensor]:
    """Global average pooling and the head.

    Args:
        features: normalised last map (B, H, W, C).
        num_classes: size of the head; 0 leaves it out.
        policy: of the body; under mixed precision the pooling and the head stay in float32.
        **head: arguments of the head, `keras.layers.Dense`.

    Returns:
        Endpoints `features`, `pre_logits` (B, C) and, with a head, `logits` (B, num_classes).
    """
    pooled = keras.layers.GlobalAveragePooling2D(name="pre_logits", dtype=policy.variable_dtype)(features)
    return {"features": features, "pre_logits": pooled, **head_endpoints(pooled, num_classes, policy, **head)}


def head_endpoints(
    pooled: keras.KerasTensor, num_classes: int, policy: keras.DTypePolicy, **head: Any
) -> dict[str, keras.KerasTensor]:
    """The head.

    Args:
        pooled: what it sees, (…, C).
        num_classes: its size; 0 leaves it out.
        policy: of the body; under mixed precision the head stays in float32.
        **head: further arguments of `keras.layers.Dense`, its name among them.

    Returns:
        Endpoint `logits` (…, num_classes), also under the layer's name; nothing without a head.
    """
    if not num_classes:
        return {}
    layer = keras.layers.Dense(num_classes, dtype=policy.variable_dtype, **head)
    logits = layer(pooled)
    return {"logits": logits, layer.name: logits}


def feature_pyramid(
    inputs: keras.KerasTensor, endpoints: Mapping[str, keras.KerasTensor]
) -> dict[str, keras.KerasTensor]:
    """Level maps, finest first, named like Keras backbones do: Pk has stride 2^k.

    Where a stride is not a power of two the names are level_1 … level_n.

    Args:
        inputs: symbolic images (B, H, W, channels).
        endpoints: of a model whose levels have strides of their own.
    """
    maps = {name: x for name, x in endpoints.items() if name.startswith("level_")}
    strides = [inputs.shape[1] / x.shape[1] for x in maps.values()]
    exponents = [math.log2(stride) for stride in strides]
    if not all(exponent.is_integer() for exponent in exponents):
        return maps
    return {f"P{int(exponent)}": x for exponent, x in zip(exponents, maps.values(), strict=True)}


def as_size(size: int | Size, field: str = "image_size") -> Size:
    """(height, width) of a size given as one number or two.

    Args:
        size: one number or (height, width).
        field: what it is, for the message.

    Raises:
        ValueError: not one or two positive whole numbers.
    """
    sides = tuple(size) if isinstance(size, Iterable) else (size, size)
    if len(sides) != 2 or not all(isinstance(side, Integral) and side > 0 for side in sides):
        raise ValueError(f"{field} is {size!r}; it must be a positive whole number or (height, width).")
    return int(sides[0]), int(sides[1])


def check_num_classes(num_classes: int) -> None:
    """Refuses numbers that no head has.

    Raises:
        ValueError: below 0.
    """
    if num_classes < 0:
        raise ValueError(f"num_classes is {num_classes}; it must be 0 (no head) or more.")


def check_feature_blocks(feature_blocks: Sequence[int] | None, depth: int) -> tuple[int, ...]:
    """The blocks whose maps are wanted, the last one by default.

    Args:
        feature_blocks: numbers of blocks, counted from 1, or None.
        depth: number of blocks there are.

    Raises:
        ValueError: there is no such block, or they are not in order.
    """
    if feature_blocks is None:
        return (depth,) if depth else ()
    numbers = tuple(feature_blocks)
    if not numbers or list(numbers) != sorted(set(numbers)) or not 1 <= numbers[0] <= numbers[-1] <= depth:
        raise ValueError(f"feature_blocks is {numbers}; it must hold rising numbers from 1 to {depth}.")
    return numbers


def check_heads(width: int, num_heads: int, width_field: str) -> None:
    """Refuses numbers of heads that do not divide the width.

    Raises:
        ValueError: says both numbers.
    """
    if width % num_heads:
        raise ValueError(f"{width_field} {width} is not a multiple of num_heads {num_heads}.")


def check_rates(config: Mapping[str, Any], fields: Sequence[str]) -> None:
    """Refuses rates outside [0, 1).

    Raises:
        ValueError: names the field.
    """
    for field in fields:
        if not 0 <= config[field] < 1:
            raise ValueError(f"{field} is {config[field]}; it must be in [0, 1).")


def square_side(tokens: int) -> int | None:
    """Side of a square of so many tokens, or None if it is none."""
    side = math.isqrt(tokens)
    return side if side * side == tokens else None


def check_image_size(image_size: Size, unit: int, reason: str) -> None:
    """Refuses sizes that the block hierarchy does not divide.

    Args:
        image_size: height and width in pixels.
        unit: number of pixels that both must be a multiple of.
        reason: why, for the message.

    Raises:
        ValueError: names the nearest sizes that fit.
    """
    if all(side % unit == 0 for side in image_size):
        return
    below = tuple(max(side // unit, 1) * unit for side in image_size)
    above = tuple(-(-side // unit) * unit for side in image_size)
    nearest = " and ".join(f"{h} x {w}" for h, w in dict.fromkeys((below, above)))
    raise ValueError(
        f"image_size {image_size[0]} x {image_size[1]} does not fit: both sides must be multiples of {unit} "
        f"({reason}); near it, {nearest} do."
    )


def resolve_policy(dtype: Any) -> keras.DTypePolicy:
    """Dtype policy from a name, a policy, or None for the global one."""
    return keras.config.dtype_policy() if dtype is None else keras.dtype_policies.get(dtype)
