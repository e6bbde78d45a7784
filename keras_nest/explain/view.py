"""An image file as a model sees it: which of its pixels the model's input shows, and where."""

import dataclasses

import numpy as np

from keras_nest.preprocessing import EvalPreprocessing
from keras_nest.types import Size, pair


@dataclasses.dataclass(frozen=True)
class View:
    """An image placed under the input that evaluation preprocessing makes of it.

    Attributes:
        image: uint8 (h, w, 3), the whole file.
        size: height and width of the model's input.
        resized: height and width to which the image was scaled.
        corner: row and column of the scaled image where the input begins.
    """

    image: np.ndarray
    size: Size
    resized: Size
    corner: Size

    @property
    def extent(self) -> tuple[float, float, float, float]:
        """Left, right, bottom and top of the whole image, in pixels of the input."""
        (height, width), (top, left) = self.resized, self.corner
        return -left, width - left, height - top, -top

    def to_file(self, box: np.ndarray) -> list[int]:
        """A box y0, x0, y1, x1 in pixels of the input, in whole pixels of the file."""
        scale = np.divide(self.image.shape[:2], self.resized)
        corners = (np.reshape(box, (2, 2)) + self.corner) * scale
        return np.rint(corners).astype(int).ravel().tolist()


def make_view(image: np.ndarray, preprocess: EvalPreprocessing) -> View:
    """How an image lies under the input that is made of it.

    Args:
        image: uint8 (h, w, 3).
        preprocess: what makes it.
    """
    resized, corner = (pair(place.numpy()) for place in preprocess.geometry(image.shape[:2]))
    return View(image, preprocess.image_size, resized, corner)
