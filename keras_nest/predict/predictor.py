"""A model as `predict` sees it: images in, class probabilities out."""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from keras_nest.layers.image_blocks import Size
from keras_nest.preprocessing import EvalPreprocessing

Images = Sequence[np.ndarray]
"""uint8 (h, w, 3), each of its own size."""


@dataclasses.dataclass(frozen=True)
class Predictor:
    """What a model says about images.

    Attributes:
        probabilities: images, uint8 (h, w, 3) of any sizes -> float32 (B, K).
        num_classes: K.
        class_names: K names, if they are known.
    """

    probabilities: Callable[[Images], np.ndarray]
    num_classes: int
    class_names: tuple[str, ...] | None = None

    def name_of(self, index: int) -> str:
        """Name of a class, or what stands for one."""
        return self.class_names[index] if self.class_names else f"class {index}"


def stretched(size: Size) -> EvalPreprocessing:
    """The whole image at a size, in [0, 1]: for models that do not say how they want it."""
    return EvalPreprocessing(size, mean=[0.0] * 3, std=[1.0] * 3, stretch=True)


def softmax(logits: object) -> np.ndarray:
    """Logits (B, K) -> float32 (B, K)."""
    return tf.nn.softmax(tf.convert_to_tensor(logits)).numpy()
