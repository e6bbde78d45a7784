"""A model as `predict` sees it: images in, class probabilities out."""

import dataclasses
import functools
import os
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np
import tensorflow as tf

from keras_nest.layers.image_blocks import Size
from keras_nest.preprocessing import EvalPreprocessing

Function = TypeVar("Function", bound=Callable[..., Any])

Images = Sequence[np.ndarray]
"""uint8 (h, w, 3), each of its own size."""


@dataclasses.dataclass(frozen=True)
class Predictor:
    """What a model says about images.

    May be called from any number of threads, but not in a process that was forked from the one that made it.

    Attributes:
        probabilities: images, uint8 (h, w, 3) of any sizes -> float32 (B, K).
        num_classes: K.
        class_names: K names, if they are known.
    """

    probabilities: Callable[[Images], np.ndarray]
    num_classes: int
    class_names: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "probabilities", in_its_process(self.probabilities))

    def name_of(self, index: int) -> str:
        """Name of a class, or what stands for one."""
        return self.class_names[index] if self.class_names else f"class {index}"


def in_its_process(function: Function) -> Function:
    """The same function, but refused after a fork, where TensorFlow would wait for ever for threads that are gone.

    Raises:
        RuntimeError: from the function, in another process than the one that this is called in.
    """
    process = os.getpid()

    @functools.wraps(function)
    def checked(*args: Any, **kwargs: Any) -> Any:
        if os.getpid() != process:
            raise RuntimeError(
                f"This model was opened in the process {process}, from which the process {os.getpid()} was forked, and "
                "TensorFlow cannot be forked once it runs; open the model in each process, or start processes with "
                "multiprocessing.get_context('spawn')."
            )
        return function(*args, **kwargs)

    return checked  # type: ignore[return-value]


def stretched(size: Size) -> EvalPreprocessing:
    """The whole image at a size, in [0, 1]: for models that do not say how they want it."""
    return EvalPreprocessing(size, mean=[0.0] * 3, std=[1.0] * 3, stretch=True)


def softmax(logits: object) -> np.ndarray:
    """Logits (B, K) -> float32 (B, K)."""
    return tf.nn.softmax(tf.convert_to_tensor(logits)).numpy()
