"""Image files that a user names, and their pixels."""

import glob
import pathlib
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import tensorflow as tf

from keras_nest.data.decoding import decode_upright
from keras_nest.data.orientation import orientation_of
from keras_nest.data.sources.folder import SUFFIXES


def find_images(names: Sequence[str]) -> list[pathlib.Path]:
    """Image files in the order in which they were named; those of a folder or a glob are sorted.

    Args:
        names: files; folders, which are searched with all below them; globs such as "photos/*.jpg".

    Raises:
        FileNotFoundError: there is no such file, or no image in a folder or of a glob.
    """
    found = [path for name in names for path in _find(name)]
    return list(dict.fromkeys(found))


def _find(name: str) -> list[pathlib.Path]:
    path = pathlib.Path(name)
    if path.is_dir():
        found = sorted(file for file in path.rglob("*") if _is_image(file))
    elif path.exists():
        return [path]
    else:
        found = sorted(pathlib.Path(file) for file in glob.glob(name, recursive=True) if _is_image(pathlib.Path(file)))
    if not found:
        kinds = ", ".join(SUFFIXES)
        raise FileNotFoundError(f"There is no image {name}; it must be a file, or a folder or glob with files {kinds}.")
    return found


def _is_image(path: pathlib.Path) -> bool:
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".")


def read_image(path: pathlib.Path | str) -> np.ndarray:
    """Pixels of an image file, upright, as training and evaluation read them.

    Args:
        path: a JPEG, PNG, BMP or GIF file.

    Returns:
        uint8 (H, W, 3).

    Raises:
        ValueError: the file is broken or no image.
        OSError: it cannot be read.
    """
    encoded = pathlib.Path(path).read_bytes()
    orientation = orientation_of(encoded)
    try:
        if orientation is None:
            raise ValueError
        return decode_upright(tf.constant(encoded), orientation).numpy()
    except (tf.errors.OpError, ValueError):
        raise ValueError(
            f"{path} cannot be read as an image; it must be a complete JPEG, PNG, BMP or GIF file."
        ) from None


def read_images(paths: Iterable[pathlib.Path], broken: list[str]) -> Iterator[tuple[pathlib.Path, np.ndarray]]:
    """Files and their pixels as `read_image` gives them, one after another.

    Args:
        paths: of image files.
        broken: gets a sentence on each file that cannot be read; the others go on.
    """
    for path in paths:
        try:
            yield path, read_image(path)
        except (ValueError, OSError) as error:
            broken.append(str(error))
