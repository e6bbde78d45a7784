"""Whether image files can be read, how large they are and how they are to be turned: looked at once, and remembered.

To find out, every file is read and decoded, which takes an hour of a million of them. What was found of many is kept in
the cache of `keras_nest.files.cache_folder`, and holds as long as a file has the same size and date.
"""

import functools
import hashlib
import json
import multiprocessing.pool
import os
import pathlib
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from rich.progress import track

from keras_nest import buckets
from keras_nest.console import console
from keras_nest.data.decoding import decode_upright
from keras_nest.data.image_files import BROKEN_FILE, begins_as_image, read_encoded
from keras_nest.data.orientation import UPRIGHT, read_orientation
from keras_nest.files import atomic_output, cache_folder, is_address
from keras_nest.places import absolute, is_file

EMPTY, LOST, DAMAGED, NO_IMAGE = "is empty", "is not there", "is cut off or damaged", "is no image"
"""What is wrong with most of the files that cannot be read."""

_THUMBNAIL = 8  # pixels a side
_PROGRESS_FROM = 500  # files; fewer are looked at before anyone wonders
_KEPT_FROM = 1000  # files; fewer are looked at as quickly
_VERSION = 2  # of what is kept; another one is not read
_NOTHING = np.zeros((_THUMBNAIL, _THUMBNAIL, 3), np.uint8)


class Inspected(NamedTuple):
    """What is known of a file.

    Attributes:
        size: in bytes.
        changed: its date, in nanoseconds as the system counts.
        orientation: how it is to be turned, 1 to 8 as EXIF counts.
        height: in pixels, upright.
        width: likewise.
        thumbnail: uint8 (8, 8, 3), upright.
        fault: why it cannot be read, in words that follow its name, such as "is empty"; "" where it can.
    """

    size: int
    changed: int
    orientation: int = UPRIGHT
    height: int = 0
    width: int = 0
    thumbnail: np.ndarray = _NOTHING
    fault: str = ""


def inspect(paths: Sequence[str], root: str | os.PathLike[str]) -> list[Inspected]:
    """Looks at image files, in parallel; at those that were seen before only at size and date.

    Args:
        paths: of the files, local or any that `tf.io.gfile` opens.
        root: what they belong to, such as their folder, under whose name the results are kept.

    Returns:
        One for each path.
    """
    kept = _kept_file(root) if len(paths) >= _KEPT_FROM else None
    known = _read_kept(kept) if kept else {}
    keys = [absolute(path) for path in paths]
    found: dict[str, Inspected] = {}
    try:
        with warnings.catch_warnings():
            # Pillow warns about EXIF data that it can still read in part.
            warnings.simplefilter("ignore")
            for key, result in zip(keys, _results(keys, known), strict=True):
                found[key] = result
    finally:
        # What was found before Ctrl-C is found.
        if kept and any(not result.fault and known.get(key) is not result for key, result in found.items()):
            _keep(kept, {**known, **found})
    return [found[key] for key in keys]


def _results(paths: Sequence[str], known: Mapping[str, Inspected]) -> Iterator[Inspected]:
    hidden = len(paths) < _PROGRESS_FROM or not console.is_terminal
    with multiprocessing.pool.ThreadPool() as pool:
        results = pool.imap(lambda path: _look(path, known.get(path)), paths, chunksize=4)
        yield from track(results, "Looking at the images", len(paths), console=console, transient=True, disable=hidden)


def _look(path: str, known: Inspected | None) -> Inspected:
    size = changed = 0
    try:
        size, changed = _stat(path)
        if known and changed and (known.size, known.changed) == (size, changed):
            return known
        if not size and is_file(path):
            return Inspected(size, changed, fault=EMPTY)
        encoded = read_encoded(path)
        orientation = read_orientation(encoded)
        height, width, thumbnail = _decode(encoded, orientation)
    except (ValueError, OSError, tf.errors.OpError) as error:
        return Inspected(size, changed, fault=_reason(path, error))
    return Inspected(size, changed, orientation, height, width, thumbnail)


def _decode(encoded: bytes, orientation: int) -> tuple[int, int, np.ndarray]:
    """Height, width and thumbnail.

    Raises:
        ValueError: it has too many pixels.
        tf.errors.OpError: it is broken.
    """
    try:
        shape, thumbnail = _decoder()(tf.constant(encoded), tf.constant(orientation))
    except tf.errors.OpError:
        # Once more, without a graph, in which errors lose their words.
        decode_upright(tf.constant(encoded), orientation)
        raise
    height, width, _ = shape.numpy().tolist()
    return height, width, thumbnail.numpy()


@functools.cache
def _decoder() -> Callable[[tf.Tensor, tf.Tensor], tuple[tf.Tensor, tf.Tensor]]:
    """(encoded, orientation) -> shape (3,) and thumbnail, as one graph: threads wait for each other between operations.

    They would so take ten times as long for small images, on any number of cores.
    """

    def decode(encoded: tf.Tensor, orientation: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        pixels = decode_upright(encoded, orientation)
        thumbnail = tf.image.resize(pixels, (_THUMBNAIL, _THUMBNAIL), tf.image.ResizeMethod.AREA)
        return tf.shape(pixels), tf.cast(tf.round(thumbnail), tf.uint8)

    signature = [tf.TensorSpec([], tf.string), tf.TensorSpec([], tf.int32)]
    return tf.function(decode, input_signature=signature, autograph=False)


def _stat(path: str) -> tuple[int, int]:
    """Size and date; 0 where that is not told."""
    if is_address(path):
        if buckets.is_public(path):
            return buckets.size(path), 0
        with buckets.reading(path):
            remote = tf.io.gfile.stat(path)
        return remote.length, remote.mtime_nsec
    local = os.stat(path)
    return local.st_size, local.st_mtime_ns


def _reason(path: str, error: Exception) -> str:
    if isinstance(error, (FileNotFoundError, tf.errors.NotFoundError)):
        return LOST
    if isinstance(error, IsADirectoryError):
        return NO_IMAGE
    if isinstance(error, OSError):
        # At addresses it is a sentence already.
        told = str(error).removeprefix(path).strip().rstrip(".")
        return f"cannot be read: {error.strerror}" if error.strerror else told
    if isinstance(error, ValueError) and str(error) != BROKEN_FILE and str(error).startswith(("has ", "is ")):
        return str(error).removesuffix(".")
    return DAMAGED if begins_as_image(path) else NO_IMAGE


def _kept_file(root: str | os.PathLike[str]) -> pathlib.Path:
    name = os.fspath(root)
    name = name if is_address(name) else os.path.realpath(name)
    return (
        cache_folder() / "inspected" / f"{hashlib.sha256(name.encode(errors='surrogateescape')).hexdigest()[:20]}.npz"
    )


def _keep(file: pathlib.Path, found: Mapping[str, Inspected]) -> None:
    """Writes what is whole, since what is broken may be put right; a cache that cannot be written is none."""
    whole = {path: result for path, result in found.items() if not result.fault}
    numbers = [(each.size, each.changed, each.orientation, each.height, each.width) for each in whole.values()]
    paths = np.frombuffer(json.dumps([_VERSION, *whole]).encode(), np.uint8)
    thumbnails = np.array([each.thumbnail for each in whole.values()], np.uint8)
    try:
        with atomic_output(file, overwrite=True) as partial:
            np.savez(partial, paths=paths, numbers=np.array(numbers, np.int64), thumbnails=thumbnails)
    except OSError:
        return


def _read_kept(file: pathlib.Path) -> dict[str, Inspected]:
    """Inverse of `_keep`; nothing where there is no such file, or one of another version."""
    try:
        with file.open("rb") as opened, np.load(opened) as arrays:
            version, *paths = json.loads(arrays["paths"].tobytes())
            numbers, thumbnails = arrays["numbers"].tolist(), arrays["thumbnails"]
            found = [Inspected(a, b, c, d, e, each) for (a, b, c, d, e), each in zip(numbers, thumbnails, strict=True)]
    except Exception:  # what NumPy raises about a damaged file is not listed anywhere
        return {}
    return dict(zip(paths, found, strict=True)) if version == _VERSION and len(paths) == len(found) else {}
