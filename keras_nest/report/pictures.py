"""Small pictures inside the page: what a model sees of an image, and where it looks."""

import base64
import io
from collections.abc import Sequence

import numpy as np
from PIL import Image

from keras_nest.explain.activation import class_activation_map
from keras_nest.explain.view import View, make_view
from keras_nest.opening import LoadedModel
from keras_nest.pixels import as_levels
from keras_nest.preprocessing import preprocessor

_SIDE = 256  # pixels of the longer side
_QUALITY = 82
_GRAY = np.array([0.299, 0.587, 0.114], np.float32)
_GLOW = np.array([255, 110, 0], np.float32)
_BATCH = 8


def thumbnail(image: np.ndarray) -> str:
    """An image as a data address.

    Args:
        image: uint8 (h, w, 3).
    """
    return _address(_small(image))


def pixels_of(address: str) -> np.ndarray:
    """The image, uint8 (h, w, 3), that a data address holds."""
    content = base64.b64decode(address.partition(",")[2])
    with Image.open(io.BytesIO(content)) as picture:
        return np.asarray(picture)


def where_it_looks(loaded: LoadedModel, images: Sequence[np.ndarray], classes: Sequence[int]) -> list[tuple[str, str]]:
    """What a model sees of images, and the same with what speaks for a class glowing.

    Args:
        loaded: a classifier.
        images: uint8 (h, w, 3) each.
        classes: one for each.

    Returns:
        Two data addresses for each image.

    Raises:
        ValueError: the model is none that can be explained.
    """
    model = loaded.image_model
    prepare = preprocessor(model)
    found = []
    for start in range(0, len(images), _BATCH):
        some, targets = list(images[start : start + _BATCH]), np.asarray(classes[start : start + _BATCH])
        prepared = prepare(as_levels(some, len(prepare.mean)))
        maps = class_activation_map(model, prepared, targets).numpy()
        found += [_pair(make_view(image, prepare), heat) for image, heat in zip(some, maps, strict=True)]
    return found


def _pair(view: View, heat: np.ndarray) -> tuple[str, str]:
    top, left, bottom, right = view.to_file(np.array([0, 0, *view.size]))
    seen = _small(view.image[max(0, top) : bottom, max(0, left) : right])
    return _address(seen), _address(_glowing(seen, heat))


def _glowing(image: Image.Image, heat: np.ndarray) -> Image.Image:
    """The image in dark gray, and what speaks for the class in color."""
    largest = heat.max()
    strength = np.maximum(heat, 0) / largest if largest > 0 else np.zeros_like(heat)
    smooth = Image.fromarray((255 * strength).astype(np.uint8)).resize(image.size, Image.Resampling.BICUBIC)
    alpha = np.asarray(smooth, np.float32)[..., None] / 255
    pixels = np.asarray(image, np.float32)
    gray = np.repeat((pixels @ _GRAY)[..., None], 3, axis=-1)
    mixed = 0.45 * gray * (1 - alpha) + alpha * (0.35 * gray + 0.3 * pixels + 0.55 * _GLOW)
    return Image.fromarray(np.clip(mixed, 0, 255).astype(np.uint8))


def _small(image: np.ndarray) -> Image.Image:
    picture = Image.fromarray(image)
    scale = _SIDE / max(picture.size)
    size = tuple(max(1, round(scale * side)) for side in picture.size)
    return picture.resize((size[0], size[1]), Image.Resampling.LANCZOS if scale < 1 else Image.Resampling.BICUBIC)


def _address(picture: Image.Image) -> str:
    content = io.BytesIO()
    picture.save(content, "JPEG", quality=_QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(content.getvalue()).decode()}"
