"""Pictures of many small images."""

import pathlib
from collections.abc import Sequence

import numpy as np
import tensorflow as tf
from PIL import Image, ImageDraw

from keras_nest.console import printable
from keras_nest.files import atomic_output

_SIDE = 64
_TITLE = 16  # pixels


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


def with_titles(picture: np.ndarray, titles: Sequence[str]) -> np.ndarray:
    """A picture with a title above each of its columns; what does not fit there is cut off.

    Args:
        picture: uint8 (height, width, C), as `grid` makes it.
        titles: one for each column.

    Returns:
        uint8 (height + 16, width, C).
    """
    _, width, channels = picture.shape
    strip = Image.new("L", (width, _TITLE), 255)
    step = width / len(titles)
    for number, title in enumerate(map(printable, titles)):
        cell = Image.new("L", (int(step), _TITLE), 255)
        draw = ImageDraw.Draw(cell)
        # Names are longer than the middle of a narrow column; they begin at its left then.
        x = max(0, (cell.width - draw.textlength(title)) / 2)
        draw.text((x, 2), title, fill=0)
        strip.paste(cell, (round(number * step), 0))
    titled = np.repeat(np.asarray(strip)[..., None], channels, axis=2)
    return np.concatenate([titled, picture])


def write_picture(path: pathlib.Path, picture: np.ndarray) -> None:
    """Writes uint8 (H, W, 1 or 3) as PNG, completely or not at all."""
    with atomic_output(path, overwrite=True) as partial:
        partial.write_bytes(tf.io.encode_png(picture).numpy())
