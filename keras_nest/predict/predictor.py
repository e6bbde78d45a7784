"""A model as `predict` sees it: images in, class probabilities or numbers out."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from keras_nest.pixels import as_levels
from keras_nest.preprocessing import EvalPreprocessing
from keras_nest.processes import in_its_process
from keras_nest.specs import STRETCHED
from keras_nest.targets import REGRESSION, SINGLE_LABEL
from keras_nest.types import Size

Images = Sequence[np.ndarray]
"""uint8 (h, w, channels), each of its own size."""


@dataclasses.dataclass(frozen=True)
class Predictor:
    """What a model says about images.

    May be called from any number of threads, but not in a process that was forked from the one that made it.

    Attributes:
        compute: `Images` -> float32 (B, K).
        num_classes: K.
        class_names: K names, if they are known.
        channels: of the images that `compute` takes.
        task: one of `keras_nest.choices.TASKS`, as far as the model says it: of a regression the "classes" are numbers
            with a name.
    """

    compute: Callable[[Images], np.ndarray]
    num_classes: int
    class_names: tuple[str, ...] | None = None
    channels: int = 3
    task: str = SINGLE_LABEL

    def __post_init__(self) -> None:
        object.__setattr__(self, "compute", in_its_process(self.compute))

    def probabilities(self, images: Any) -> np.ndarray:
        """Class probabilities, the same whatever kind of file the model comes from.

        Args:
            images: a list of images of any sizes, or a batch, as `keras_nest.pixels.as_images` takes them: uint8,
                floats in [0, 1] or 0..255, gray, RGBA. Floats are rounded to 256 levels, as a file has them.

        Returns:
            float32 (B, K).

        Raises:
            ValueError: they are no images, or there are none; or the model gives numbers.
        """
        if self.gives_numbers:
            raise ValueError("The model gives numbers and no probabilities; ask for Predictor.answers.")
        return self.answers(images)

    def __call__(self, images: Any) -> np.ndarray:
        """As `answers`."""
        return self.answers(images)

    def answers(self, images: Any) -> np.ndarray:
        """Class probabilities, or the numbers of a regression in their own unit; otherwise as `probabilities`."""
        return self.compute(as_levels(images, self.channels))

    @property
    def gives_numbers(self) -> bool:
        """Whether answers are numbers and no probabilities."""
        return self.task == REGRESSION

    def name_of(self, index: int) -> str:
        """Name of a class or a number, or what stands for one."""
        unknown = "number" if self.gives_numbers else f"class {index}"
        return self.class_names[index] if self.class_names else unknown


def stretched(size: Size, channels: int = 3) -> EvalPreprocessing:
    """The whole image at a size, in [0, 1]: for models that do not say how they want it."""
    return EvalPreprocessing(size, **STRETCHED.pixels_only(channels))


def softmax(logits: object) -> np.ndarray:
    """Logits (B, K) -> float32 (B, K)."""
    return tf.nn.softmax(tf.convert_to_tensor(logits)).numpy()
