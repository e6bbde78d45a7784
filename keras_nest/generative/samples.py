"""Pictures of many small images."""

import pathlib

import numpy as np
import tensorflow as tf

from keras_nest.files import atomic_output

_SIDE = 64


def grid(images: np.ndarray, columns: int, gap: int = 2) -> np.ndarray:
    """Puts images side by side on white, small ones enlarged so that their pixels can be seen.

    Args:
        images: float (N, H, W, C) in [-1, 1]; row by row, and what is missing at the end stays white.
        columns: images in a row.
        gap: white pixels between them.

    Returns:
        uint8 (height, width, C).
    """
    _, height, width, channels = images.shape
    factor = max(1, _SIDE // height)
    pixels = np.rint((np.clip(images, -1, 1) + 1) * 127.5).astype(np.uint8)
    pixels = pixels.repeat(factor, axis=1).repeat(factor, axis=2)
    rows, step_y, step_x = -(-len(images) // columns), height * factor + gap, width * factor + gap
    picture = np.full((rows * step_y - gap, columns * step_x - gap, channels), 255, np.uint8)
    for index, image in enumerate(pixels):
        y, x = index // columns * step_y, index % columns * step_x
        picture[y : y + step_y - gap, x : x + step_x - gap] = image
    return picture


def write_picture(path: pathlib.Path, picture: np.ndarray) -> None:
    """Writes uint8 (H, W, 1 or 3) as PNG, completely or not at all."""
    with atomic_output(path, overwrite=True) as partial:
        partial.write_bytes(tf.io.encode_png(picture).numpy())
