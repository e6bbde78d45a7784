"""Data sets: names and sizes, and labeled images one after the other, once in order or shuffled without end."""

import abc
import copy
import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from keras_nest.data.decoding import decode_upright
from keras_nest.data.keys import Stream, derive_key
from keras_nest.data.orientation import UPRIGHT
from keras_nest.targets import ONE_CLASS, Target
from keras_nest.types import Size


class Split(NamedTuple):
    """One part of a data set.

    Attributes:
        images: uint8 (N, H, W, 3).
        labels: int32 (N,), indices into the class names.
    """

    images: np.ndarray
    labels: np.ndarray


@dataclasses.dataclass(frozen=True)
class DatasetInfo:
    """Sizes and names of a data set.

    Attributes:
        name: as `keras_nest.data.load` takes it.
        class_names: one a class; a label is an index into them. Empty if images have captions instead.
        image_shape: (H, W, C) in pixels; None where images differ.
        num_train: number of training images.
        num_test: number of test images.
        target: what is told of an image.
        scale: of a regression, mean and standard deviation of the numbers of the training images; labels are the
            numbers minus the first, divided by the second.
    """

    name: str
    class_names: tuple[str, ...]
    image_shape: tuple[int | None, int | None, int]
    num_train: int
    num_test: int
    target: Target = ONE_CLASS
    scale: tuple[float, float] = (0.0, 1.0)

    @property
    def usual_size(self) -> Size:
        """(height, width) of its images in pixels; 224x224 where they differ."""
        height, width, _ = self.image_shape
        return (224, 224) if height is None or width is None else (height, width)

    @property
    def has_captions(self) -> bool:
        """Whether images have captions instead of classes."""
        return not self.class_names

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return len(self.class_names)


@dataclasses.dataclass(frozen=True)
class Host:
    """One of the processes that read a data set together.

    Attributes:
        index: of this process, from 0.
        count: of all processes.

    Raises:
        ValueError: there is no such process.
    """

    index: int = 0
    count: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.index < self.count:
            raise ValueError(f"There is no host {self.index} of {self.count}; they are counted from 0.")

    def part(self, number: int) -> range:
        """This process's part of `number` things: consecutive, and equal among the processes but for one."""
        return range(number * self.index // self.count, number * (self.index + 1) // self.count)


ONLY_HOST = Host()


class Example(NamedTuple):
    """One image and its label.

    Attributes:
        content: an encoded image, a string scalar; or its pixels, uint8 (H, W, 3).
        label: int32 scalar, a class; float32 (K,), 1 for each class that the image has, or (1,), a number; or a string
            scalar, the captions of the image, one a line.
        orientation: int32 scalar, how an encoded image is to be turned, 1 to 8 as EXIF counts; 1 is upright.
    """

    content: tf.Tensor
    label: tf.Tensor
    orientation: tf.Tensor


class Examples(abc.ABC):
    """One part of a data set, training or test images."""

    @abc.abstractmethod
    def __len__(self) -> int:
        """Number of images."""

    @abc.abstractmethod
    def in_order(self, host: Host) -> tf.data.Dataset:
        """Every image of a host's part once.

        Args:
            host: which part; together the parts are all images, each once.

        Returns:
            `Example`s, always in the same order.
        """

    @abc.abstractmethod
    def shuffled(self, seed: int, host: Host, first: int) -> tf.data.Dataset:
        """Endless images, in an order that depends on the arguments alone.

        Args:
            seed: of the order; every epoch has another one.
            host: which of the images; in an epoch the hosts together see each image once.
            first: how many images to leave out; none of them is decoded.

        Returns:
            `Example`s.
        """


@dataclasses.dataclass(frozen=True)
class Source:
    """A data set.

    Attributes:
        info: names and sizes.
        train: training images.
        test: test images.
    """

    info: DatasetInfo
    train: Examples
    test: Examples


class IndexedExamples(Examples):
    """Images in memory, encoded or decoded, or files: each can be had at any time.

    The order of an epoch is a permutation of all images, and leaving out images costs nothing.

    Attributes:
        read: as below.

    Args:
        contents: uint8 (N, H, W, 3), or strings (N,): encoded images, or what `read` makes encoded images of.
        labels: integers (N,), strings (N,) of captions, or floats (N, K).
        orientations: integers (N,), as in `Example`; None if all are upright.
        read: string scalar -> encoded image; None takes contents as they are.

    Raises:
        ValueError: lengths differ.
    """

    def __init__(
        self,
        contents: np.ndarray,
        labels: np.ndarray,
        orientations: np.ndarray | None = None,
        read: Callable[[tf.Tensor], tf.Tensor] | None = None,
    ) -> None:
        if orientations is None:
            orientations = np.full(len(labels), UPRIGHT)
        if not len(contents) == len(labels) == len(orientations):
            raise ValueError(
                f"There are {len(contents)} images, {len(labels)} labels and {len(orientations)} orientations; "
                "each image must have one of each."
            )
        self._count = len(labels)
        self.read = read
        self._contents = tf.constant(contents)
        dtypes = {"O": tf.string, "f": tf.float32}
        self._labels = tf.constant(labels, dtypes.get(np.asarray(labels).dtype.kind, tf.int32))
        self._orientations = tf.constant(orientations, tf.int32)

    def __len__(self) -> int:
        return self._count

    def in_order(self, host: Host) -> tf.data.Dataset:
        """Every image of a host's part once, see `Examples.in_order`."""
        part = host.part(len(self))
        return map_in_order(tf.data.Dataset.range(part.start, part.stop), self.at)

    def shuffled(self, seed: int, host: Host, first: int) -> tf.data.Dataset:
        """Endless images, each epoch a permutation of all of them; see `Examples.shuffled`."""
        count = len(self)

        def example_at(step: tf.Tensor) -> Example:
            # Hosts take turns, so that they see each image once an epoch whatever their number.
            position = step * host.count + host.index
            key = derive_key(seed, Stream.ORDER, position // count)
            return self.at(tf.random.experimental.index_shuffle(position % count, key, count - 1))

        return map_in_order(tf.data.Dataset.range(first, tf.int64.max), example_at)

    @property
    def labels(self) -> np.ndarray:
        """Integers (N,), strings (N,) of captions, or floats (N, K)."""
        return self._labels.numpy()

    def with_read(self, read: Callable[[tf.Tensor], tf.Tensor]) -> "IndexedExamples":
        """The same images, read in another way."""
        other = copy.copy(self)
        other.read = read
        return other

    def at(self, index: tf.Tensor) -> Example:
        """One image, by its number: an integer scalar."""
        content = self._contents[index]
        content = content if self.read is None else self.read(content)
        return Example(content, self._labels[index], self._orientations[index])


def map_in_order(numbers: tf.data.Dataset, function: Callable[[tf.Tensor], Example]) -> tf.data.Dataset:
    """Images by their numbers, several read at once and in the order of the numbers."""
    return numbers.map(function, tf.data.AUTOTUNE, deterministic=True)


def decode(example: Example) -> tf.Tensor:
    """All pixels of an image, upright.

    Args:
        example: an image file as `decode_upright` takes it, or pixels, which are returned as they are.

    Returns:
        uint8 (H, W, 3).
    """
    if example.content.dtype != tf.string:
        return example.content
    return decode_upright(example.content, example.orientation)
