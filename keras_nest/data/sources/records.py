"""Images in TFRecord files, read one after the other."""

import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from keras_nest.data.keys import Stream, derive_key
from keras_nest.data.sources.base import ONLY_HOST, Example, Examples, Host, IndexedExamples

# How many files are read in turns, and how many records at a turn.
_CYCLE_LENGTH = 16
_BLOCK_LENGTH = 16
# Each read of a file in a cloud bucket is a request of its own.
_BYTES_PER_READ = 8 * 2**20


class Shard(NamedTuple):
    """Consecutive records of a file.

    Attributes:
        path: of the TFRecord file.
        skip: how many records come before.
        take: how many records they are.
    """

    path: str
    skip: int
    take: int


class StreamedExamples(Examples):
    """Images that stay in their files.

    An epoch is shuffled in two steps: the files are read in turns in a random order, and then every `shuffle_buffer`
    records that follow one another change places. Both depend on the seed and the epoch alone. Each host shuffles its
    own part of the records, and reads no file without any of them.

    Args:
        shards: where the records are.
        parse: serialized record, a string scalar -> `Example`.
        shuffle_buffer: how many records change places; up to three times as many are in memory, encoded.

    Raises:
        ValueError: a buffer without room.
    """

    def __init__(self, shards: Sequence[Shard], parse: Callable[[tf.Tensor], Example], shuffle_buffer: int) -> None:
        if shuffle_buffer < 1:
            raise ValueError(f"shuffle_buffer is {shuffle_buffer}; it must be 1 or more.")
        self._shards = shards
        self._parse = parse
        self._shuffle_buffer = shuffle_buffer

    def __len__(self) -> int:
        return _count(self._shards)

    def in_order(self, host: Host) -> tf.data.Dataset:
        """Every record of a host's part once, the files in turns; see `Examples.in_order`."""
        shards = self._part(host)
        return self._parsed(_read(shards, tf.range(len(shards))))

    def shuffled(self, seed: int, host: Host, first: int) -> tf.data.Dataset:
        """Endless records of a host's part, shuffled as the class says; see `Examples.shuffled`.

        What is left out before `first` is read in its last epoch, but not decoded.

        Raises:
            ValueError: there are fewer images than hosts.
        """
        shards = self._part(host)
        if not shards:
            raise ValueError(f"{len(self)} images are too few for {host.count} hosts; each needs one at least.")

        def chunks(epoch: tf.Tensor) -> tf.data.Dataset:
            key = derive_key(seed, Stream.ORDER, epoch)
            order = _shuffled(tf.range(len(shards)), key, 0)
            chunks = _read(shards, order).batch(self._shuffle_buffer).enumerate()
            return chunks.map(lambda index, records: _shuffled(records, key, index + 1))

        epochs, rest = divmod(first, _count(shards))
        chunks_of_all_epochs = tf.data.Dataset.range(epochs, tf.int64.max).flat_map(chunks)
        # The next chunk is read while this one is used up.
        return self._parsed(chunks_of_all_epochs.prefetch(1).unbatch().skip(rest))

    def _part(self, host: Host) -> list[Shard]:
        return _cut(self._shards, host.part(len(self)))

    def _parsed(self, records: tf.data.Dataset) -> tf.data.Dataset:
        return records.map(self._parse, tf.data.AUTOTUNE, deterministic=True)


class CachedExamples(Examples):
    """Images that are read into memory, encoded, when they are first asked for.

    Args:
        examples: where they are read from.
    """

    def __init__(self, examples: Examples) -> None:
        self._examples = examples

    def __len__(self) -> int:
        return len(self._examples)

    def in_order(self, host: Host) -> tf.data.Dataset:
        """Every image of a host's part once, see `Examples.in_order`."""
        return self._in_memory.in_order(host)

    def shuffled(self, seed: int, host: Host, first: int) -> tf.data.Dataset:
        """Endless images, each epoch a permutation of all of them; see `Examples.shuffled`."""
        return self._in_memory.shuffled(seed, host, first)

    @functools.cached_property
    def _in_memory(self) -> IndexedExamples:
        batches = self._examples.in_order(ONLY_HOST).batch(1024).as_numpy_iterator()
        contents, labels, orientations = (np.concatenate(column) for column in zip(*batches, strict=True))
        return IndexedExamples(contents, labels, orientations)


def _count(shards: Sequence[Shard]) -> int:
    """Number of records."""
    return sum(shard.take for shard in shards)


def _cut(shards: Sequence[Shard], part: range) -> list[Shard]:
    """The shards, or pieces of them, with those records whose number among all is in `part`."""
    pieces = []
    start = 0
    for shard in shards:
        low, high = max(part.start, start), min(part.stop, start + shard.take)
        if low < high:
            pieces.append(Shard(shard.path, shard.skip + low - start, high - low))
        start += shard.take
    return pieces


def _read(shards: Sequence[Shard], order: tf.Tensor) -> tf.data.Dataset:
    """Records of shards that are begun in the given order, (number of shards,), and read in turns."""
    paths = tf.constant([shard.path for shard in shards], tf.string)
    skips = tf.constant([shard.skip for shard in shards], tf.int64)
    takes = tf.constant([shard.take for shard in shards], tf.int64)

    def records(index: tf.Tensor) -> tf.data.Dataset:
        file = tf.data.TFRecordDataset(paths[index], buffer_size=_BYTES_PER_READ)
        return file.skip(skips[index]).take(takes[index])

    turns = tf.data.Dataset.from_tensor_slices(order).interleave(
        records, _CYCLE_LENGTH, _BLOCK_LENGTH, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True
    )
    # A file that was cut off is an error, not a shorter epoch.
    return turns.apply(tf.data.experimental.assert_cardinality(_count(shards)))


def _shuffled(values: tf.Tensor, key: tf.Tensor, counter: int | tf.Tensor) -> tf.Tensor:
    """A permutation along the first axis; unlike `Dataset.shuffle` it does not depend on the global seed."""
    return tf.random.experimental.stateless_shuffle(values, tf.random.fold_in(key, counter))
