"""Training images that are decoded and reduced once: large photographs take most of the time of a step."""

import dataclasses
import io
import pathlib
from collections.abc import Callable

import numpy as np
import tensorflow as tf
from PIL import Image

from keras_nest.data.converted import Copies
from keras_nest.data.decoding import decode_upright
from keras_nest.data.orientation import UPRIGHT
from keras_nest.data.sources.base import IndexedExamples, Source


def reduce_images(source: Source, side: int, folder: pathlib.Path) -> Source:
    """The same data set, whose training images are no larger than they have to be.

    Test images stay as they are, so that a model is measured on what it will be given.

    Args:
        source: of image files.
        side: of the training images, the shorter one, in pixels at most; smaller images are kept as they are.
        folder: in which they are kept, see `Copies`.

    Raises:
        ValueError: its images are not files of their own.
    """
    if not isinstance(source.train, IndexedExamples) or source.train.read is None:
        raise ValueError(
            f"cache_side is for images that are files of their own, and those of {source.info.name} are not; leave it "
            "out."
        )
    reduced = Reduced(source.train.read, side, folder)
    return dataclasses.replace(source, train=source.train.with_read(reduced.in_graph))


class Reduced:
    """Reads image files, and gives a smaller one in the place of each.

    Args:
        read: path, a string scalar -> encoded image.
        side: see `reduce_images`.
        folder: likewise.
    """

    def __init__(self, read: Callable[[tf.Tensor], tf.Tensor], side: int, folder: pathlib.Path) -> None:
        # What it has of Python gets bytes in a graph alone.
        self._read = tf.function(read).get_concrete_function(tf.TensorSpec((), tf.string))
        self._side, self._copies = side, Copies(folder)

    def in_graph(self, path: tf.Tensor) -> tf.Tensor:
        """Content of a BMP file, a string scalar, turned as that of the path is."""
        return tf.ensure_shape(tf.numpy_function(self, [path], tf.string, stateful=False), ())

    def __call__(self, path: bytes | np.ndarray) -> bytes:
        """The same, outside of a graph."""
        name = np.asarray(path).item()
        return self._copies.get(b"%d %s" % (self._side, _version(name)), lambda: self._make(name))

    def _make(self, path: bytes) -> bytes:
        image = Image.fromarray(decode_upright(self._read(tf.constant(path)), UPRIGHT).numpy())
        if (shorter := min(image.size)) > self._side:
            width, height = (max(1, round(side * self._side / shorter)) for side in image.size)
            image = image.resize((width, height), Image.Resampling.BICUBIC, reducing_gap=2.0)
        file = io.BytesIO()
        image.save(file, "BMP")
        return file.getvalue()


def _version(path: bytes) -> bytes:
    """A path, and what changes where the file does; the path alone where nothing tells that."""
    try:
        found = tf.io.gfile.stat(path)
    except tf.errors.OpError:
        return path
    return b"%s %d %d" % (path, found.length, found.mtime_nsec)
