"""What a data set is, once it is loaded."""

import dataclasses
from typing import NamedTuple

import numpy as np

from keras_nest.types import Size


class Split(NamedTuple):
    """One part of a data set.

    Attributes:
        images: uint8 (N, H, W, 3).
        labels: int32 (N,), indices into the class names.
    """

    images: np.ndarray
    labels: np.ndarray


@dataclasses.dataclass(frozen=True)
class DatasetInfo:
    """Sizes and names of a data set.

    Attributes:
        name: as `keras_nest.data.load` takes it.
        class_names: one a class; a label is an index into them. None if images have captions instead.
        image_shape: (H, W, C) in pixels; None where images differ.
        num_train: number of training images.
        num_test: number of test images.
    """

    name: str
    class_names: tuple[str, ...]
    image_shape: tuple[int | None, int | None, int]
    num_train: int
    num_test: int

    @property
    def usual_size(self) -> Size:
        """(height, width) of its images in pixels; 224x224 where they differ."""
        height, width, _ = self.image_shape
        return (224, 224) if height is None or width is None else (height, width)

    @property
    def has_captions(self) -> bool:
        """Whether images have captions instead of classes."""
        return not self.class_names

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return len(self.class_names)
