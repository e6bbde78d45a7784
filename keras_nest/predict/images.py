"""Image files that a user names, and their pixels."""

import glob
import logging
import os
import pathlib
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
import tensorflow as tf

from keras_nest.console import printable
from keras_nest.data.decoding import decode_upright
from keras_nest.data.image_files import (
    BROKEN_FILE,
    SUFFIXES,
    count_kinds,
    decodable,
    is_clutter,
    is_image,
    read_encoded,
)
from keras_nest.data.orientation import read_orientation
from keras_nest.places import Address, Place, as_place

_LOGGER = logging.getLogger(__name__)


def find_images(names: Sequence[str]) -> list[Place]:
    """Image files in the order in which they were named, each once; those of a folder or a glob are sorted.

    In folders and globs images are what ends in one of `image_files.SUFFIXES`; other files are left out with a warning
    that counts them, and what is hidden or made by a system for itself, such as .thumbnails, is passed over.

    Args:
        names: files; folders, which are searched with all below them, but not through links; globs such as
            "photos/*.jpg". Addresses of files and folders, too.

    Raises:
        FileNotFoundError: there is no such file, or no image in a folder or of a glob.
        ValueError: an address that TensorFlow does not know.
        OSError: an address cannot be read.
    """
    found: dict[str, Place] = {}
    for name in names:
        for path in _find(name):
            found.setdefault(os.path.abspath(path), path)
    return list(found.values())


def _find(name: str) -> list[Place]:
    path = as_place(name)
    if isinstance(path, Address):
        if path.is_file():
            return [path]
        files = _files_at(path) if path.is_dir() else []
    elif path.is_dir():
        files = _files_below(path)
    elif os.path.lexists(path):
        return [path]
    else:
        files = _files_of_glob(path)
    found = sorted(type(path)(file) for file in files if is_image(os.path.basename(file)))
    if not found:
        kinds, folder = ", ".join(SUFFIXES), "folder" if isinstance(path, Address) else "folder or glob"
        raise FileNotFoundError(f"There is no image {name}; it must be a file, or a {folder} with files {kinds}.")
    if others := [file for file in files if not is_image(os.path.basename(file))]:
        _LOGGER.warning("Left out of %s, where images end in %s: %s.", name, ", ".join(SUFFIXES), count_kinds(others))
    return found


def _files_below(folder: pathlib.Path) -> list[str]:
    """All files in a folder and those below it; links to folders, which are not followed, with a slash behind them."""
    files: list[str] = []
    for parent, folders, names in os.walk(folder, onerror=_tell):
        folders[:] = [name for name in folders if not is_clutter(name)]
        links = [f"{name}/" for name in folders if os.path.islink(os.path.join(parent, name))]
        files += [os.path.join(parent, name) for name in (*names, *links) if not is_clutter(name)]
    return files


def _files_at(folder: Address) -> list[str]:
    """The same at an address."""
    files: list[str] = []
    for place in folder.iterdir():
        if not is_clutter(place.name):
            files += _files_at(place) if not is_image(place.name) and place.is_dir() else [str(place)]
    return files


def _files_of_glob(pattern: pathlib.Path) -> list[str]:
    """What matches, but for folders; a folder that is there may have brackets or stars in its own name."""
    folder = next(parent for parent in pattern.parents if parent.is_dir())
    rest = pattern.parts[len(folder.parts) :]
    matches = glob.glob(os.path.join(glob.escape(str(folder)), *rest), recursive=True)
    inside = {match: set(pathlib.Path(match).parts[len(folder.parts) :]).difference(rest) for match in matches}
    return [match for match in matches if not (any(map(is_clutter, inside[match])) or _is_plain_folder(match))]


def _is_plain_folder(match: str) -> bool:
    return os.path.isdir(match) and not is_image(os.path.basename(match))


def _tell(error: OSError) -> None:
    _LOGGER.warning("The folder %s is left out: %s.", error.filename, error.strerror)


def read_image(path: str | os.PathLike[str]) -> np.ndarray:
    """Pixels of an image file, upright, as training and evaluation read them.

    Args:
        path: a JPEG, PNG, GIF, BMP, TIFF, WebP or AVIF file, local or at an address.

    Returns:
        uint8 (H, W, 3).

    Raises:
        ValueError: the file is broken, no image, has more than `image_files.MAX_PIXELS`, or takes more memory than
            there is.
        OSError: it cannot be read.
    """
    return _upright(path, lambda: read_encoded(path))


def decode_image(content: bytes, name: str) -> np.ndarray:
    """The same for the content of a file that lies nowhere.

    Args:
        content: of the file.
        name: that messages have for it.

    Raises:
        ValueError: as `read_image`.
    """
    return _upright(name, lambda: decodable(content))


def _upright(name: str | os.PathLike[str], read: Callable[[], bytes]) -> np.ndarray:
    try:
        encoded = read()
        return decode_upright(tf.constant(encoded), read_orientation(encoded)).numpy()
    except (MemoryError, tf.errors.ResourceExhaustedError):
        raise ValueError(f"{printable(name)} takes more memory than there is.") from None
    except tf.errors.OpError:
        raise ValueError(f"{printable(name)} {BROKEN_FILE}") from None
    except ValueError as error:
        raise ValueError(f"{printable(name)} {error}") from None


def read_images(paths: Iterable[Place], tell: Callable[[str], None]) -> Iterator[tuple[Place, np.ndarray]]:
    """Files and their pixels as `read_image` gives them, one after another.

    Args:
        paths: of image files.
        tell: is given a sentence on each file that cannot be read; the others go on.
    """
    for path in paths:
        try:
            yield path, read_image(path)
        except ValueError as error:
            tell(str(error))
        except OSError as error:
            # At addresses it is a sentence already.
            tell(f"{printable(path)} cannot be read: {error.strerror}." if error.strerror else str(error))
