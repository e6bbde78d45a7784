"""The inputs of models: their first layer, and what they refuse or warn of before they compute."""

import dataclasses
import warnings
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from keras_nest.layers.image_input import ImageInput
from keras_nest.specs import PreprocessingSpec

# Of an array given to `fit` or `predict`, so many images show its range.
_SEEN = 32
# So many ranges beside their own, normalized images have no values: neither outliers of noise nor another's mean and
# deviation reach it, and levels of 0..255 go far beyond.
_SLACK = 4
_HINT = "keras_nest.preprocessor(model) makes such images"


def image_input(
    architecture: type[keras.Model], config: Mapping[str, Any], policy: keras.DTypePolicy
) -> tuple[keras.KerasTensor, keras.KerasTensor]:
    """The input of a model of images, and the same images as its first layer gives them to the others.

    Args:
        architecture: the model's class.
        config: its complete arguments, `image_size` and `in_channels` among them.
        policy: of the layers.

    Returns:
        Two symbolic tensors (B, H, W, in_channels); the model goes on from the second.
    """
    shape = (*config["image_size"], config["in_channels"])
    inputs = keras.Input(shape, dtype=policy.variable_dtype, name="images")
    return inputs, ImageInput(keras.saving.get_registered_name(architecture), config, dtype=policy)(inputs)


def check_images(inputs: Any, name: str) -> None:
    """Refuses images that are no floats.

    Args:
        inputs: arrays, tensors, symbolic or not, or specifications of them, in any structure.
        name: of the model.

    Raises:
        ValueError: they are integers, which cannot be normalized.
    """
    for dtype in _dtypes(inputs):
        if "float" not in dtype:
            raise ValueError(f"Images have dtype {dtype}; the model {name!r} takes normalized floats; {_HINT}.")


def check_tokens(inputs: Any, name: str) -> None:
    """Refuses token ids that are no whole numbers; arguments as `check_images`.

    Raises:
        ValueError: they are floats or texts.
    """
    for dtype in _dtypes(inputs):
        if "int" not in dtype:
            raise ValueError(f"Tokens have dtype {dtype}; the model {name!r} takes integers, the ids of a tokenizer.")


def normalized_range(preprocessing: Mapping[str, Any]) -> tuple[float, float]:
    """The lowest and the highest value of normalized images.

    Args:
        preprocessing: `mean` and `std` of the channels of images in [0, 1].
    """
    mean, std = (np.asarray(preprocessing[name]) for name in ("mean", "std"))
    return float(np.min(-mean / std)), float(np.max((1 - mean) / std))


def warn_of_range(inputs: Any, preprocessing: Mapping[str, Any], name: str) -> bool:
    """Warns of values far outside the range of normalized images, where there are values to see.

    Args:
        inputs: arrays or tensors in any structure; what is symbolic, or no array, is not looked at.
        preprocessing: as `normalized_range` takes it.
        name: of the model.

    Returns:
        Whether it did.
    """
    lowest, highest = normalized_range(preprocessing)
    slack = _SLACK * (highest - lowest)
    for images in map(_values, keras.tree.flatten(inputs)):
        if images is None or not images.size:
            continue
        found = float(images.min()), float(images.max())
        if not lowest - slack <= found[0] <= found[1] <= highest + slack:
            warnings.warn(
                f"Images have values from {found[0]:.4g} to {found[1]:.4g}; normalized for the model {name!r} they are "
                f"between {lowest:.4g} and {highest:.4g}; {_HINT}.",
                stacklevel=4,
            )
            return True
    return False


def other_preparation(data: Any, preprocessing: Mapping[str, Any] | None, name: str) -> str | None:
    """The sentence about a data set whose images were prepared otherwise than the model will prepare its users'.

    Args:
        data: whatever `fit` takes; data sets of `keras_nest.data` say how their images were prepared.
        preprocessing: of the model, if it has one.
        name: of the model.

    Returns:
        None where there is nothing to say.
    """
    given = getattr(data, "preprocessing", None)
    if not preprocessing or not isinstance(given, PreprocessingSpec):
        return None
    both = given, PreprocessingSpec.from_dict(preprocessing)
    lengths = {len(values) for spec in both for values in (spec.mean, spec.std)}
    if len(lengths - {1}) > 1:
        return None  # Images of other channels, which the model refuses.
    theirs, ours = (dataclasses.asdict(spec.broadcast(max(lengths))) for spec in both)
    # Files are read in the range that they have; it concerns arrays of users alone.
    differing = [field for field in ours if field != "value_range" and theirs[field] != ours[field]]
    if not differing:
        return None
    found, expected = (", ".join(f"{field} {values[field]}" for field in differing) for values in (theirs, ours))
    return (
        f"The images are prepared with {found}; those that the model {name!r} will predict, with {expected}. Load them "
        'with preprocessing=model.config["preprocessing"], or make the model with preprocessing=train.preprocessing.'
    )


def _dtypes(inputs: Any) -> list[str]:
    """Names of the dtypes; Python's numbers have none."""
    found = [getattr(x, "dtype", None) for x in keras.tree.flatten(inputs)]
    return [getattr(dtype, "name", str(dtype)) for dtype in found if dtype is not None]


def _values(images: Any) -> np.ndarray | None:
    """The first images as an array, or None inside a graph."""
    if isinstance(images, keras.KerasTensor):
        return None
    try:
        if keras.ops.is_tensor(images):
            return np.asarray(images)[:_SEEN]
        # A slice first: the array may be larger than the memory.
        return np.asarray(images[:_SEEN]) if hasattr(images, "shape") and hasattr(images, "__array__") else None
    except (NotImplementedError, TypeError, ValueError, IndexError):
        return None
