"""Checks of configuration fields that several architectures have."""

import inspect
import math
from collections.abc import Mapping, Sequence
from typing import Any

import keras

from keras_nest.choices import ACTIVATIONS
from keras_nest.types import Size

_MOST_LAYERS = 1000
# How signatures say that a field counts something, and which of these may be none.
_COUNTS = (int, int | None)
_MAY_BE_NONE = ("num_layers", "num_blocks")


def constructor_arguments(architecture: type, values: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of a model's constructor, as its configuration holds them.

    Args:
        architecture: the class.
        values: `locals()` of its constructor; only what the signature names is taken, and the model's name is not.

    Returns:
        Values by field, in the order of the signature.

    Raises:
        ValueError: a number of something is negative, or 0 where there must be some, or there are more layers than any
            model has, which would be built for hours.
    """
    fields = inspect.signature(vars(architecture)["__init__"]).parameters
    for field, parameter in fields.items():
        if field == "num_classes":
            _check_num_classes(values[field])
        elif parameter.annotation in _COUNTS:
            _check_count(field, values[field], parameter.annotation is not int)
        if "num_layers" in field or field in ("num_blocks", "block_repeats"):
            _check_depth(field, values[field])
    return {field: values[field] for field in fields if field not in ("self", "name")}


def _check_count(field: str, value: int | None, may_be_absent: bool) -> None:
    least = 0 if field in _MAY_BE_NONE else 1
    if value is not None and value < least:
        raise ValueError(f"{field} is {value}; it must be {least} or more{', or None' * may_be_absent}.")


def _check_depth(field: str, depth: Any) -> None:
    depths = depth if isinstance(depth, (list, tuple)) else [depth]
    if any(isinstance(each, int) and each < 0 for each in depths):
        raise ValueError(f"{field} is {str(depth)[:80]}; there are 0 layers or more.")
    if sum(each for each in depths if isinstance(each, int)) > _MOST_LAYERS:
        raise ValueError(f"{field} is {str(depth)[:80]}; a model has {_MOST_LAYERS:,} layers at most.")


def _check_num_classes(num_classes: int) -> None:
    if num_classes < 0:
        raise ValueError(f"num_classes is {num_classes}; it must be 0 (no head) or more.")


def check_activation(activation: str | None, num_classes: int) -> None:
    """Refuses activations that make no probabilities of so many logits.

    Raises:
        ValueError: says which do.
    """
    if activation is not None and activation not in ACTIVATIONS:
        known = ", ".join(map(repr, ACTIVATIONS))
        raise ValueError(f"classifier_activation is {activation!r}; it must be one of {known}, or None for logits.")
    if activation == "softmax" and num_classes == 1:
        raise ValueError('classifier_activation "softmax" of a single class is always 1; use "sigmoid".')


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
    blocks = tuple(feature_blocks)
    if not blocks or list(blocks) != sorted(set(blocks)) or not 1 <= blocks[0] <= blocks[-1] <= depth:
        raise ValueError(f"feature_blocks is {blocks}; it must hold rising numbers from 1 to {depth}.")
    return blocks


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
