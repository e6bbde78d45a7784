"""Images in TFRecord files, read one after the other."""

import functools
from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from keras_nest.data.keys import Stream, derive_key
from keras_nest.data.sources.base import ONLY_HOST, Example, Examples, Host, IndexedExamples
from keras_nest.data.sources.turns import BLOCK_LENGTH, CYCLE_LENGTH, Shard, after

# Each read of a file in a cloud bucket is a request of its own; elsewhere what is left out is not read.
_BYTES_PER_READ_OF_BUCKETS = 8 * 2**20


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

        Of what is left out before `first`, only what shares its last chunk is read. Files that lie at an address are
        read from their beginning, those that were begun.

        Raises:
            ValueError: there are fewer images than hosts.
        """
        shards = self._part(host)
        if not shards:
            raise ValueError(f"{len(self)} images are too few for {host.count} hosts; each needs one at least.")

        def file_order(key: tf.Tensor) -> tf.Tensor:
            return _shuffled(tf.range(len(shards)), key, 0)

        def chunks(records: tf.data.Dataset, key: tf.Tensor, done: int = 0) -> tf.data.Dataset:
            chunks = records.batch(self._shuffle_buffer).enumerate(done + 1)
            return chunks.map(lambda number, records: _shuffled(records, key, number))

        def epoch_chunks(epoch: tf.Tensor) -> tf.data.Dataset:
            key = derive_key(seed, Stream.ORDER, epoch)
            return chunks(_read(shards, file_order(key)), key)

        epoch, rest = divmod(first, _count(shards))
        key, done = derive_key(seed, Stream.ORDER, epoch), rest // self._shuffle_buffer
        begun = _read_on([shards[index] for index in file_order(key).numpy()], done * self._shuffle_buffer)
        later = tf.data.Dataset.range(epoch + 1, tf.int64.max).flat_map(epoch_chunks)
        # The next chunk is read while this one is used up.
        all_chunks = chunks(begun, key, done).concatenate(later).prefetch(1)
        return self._parsed(all_chunks.unbatch().skip(rest % self._shuffle_buffer))

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
    is_far = any("://" in shard.path for shard in shards)

    def records(index: tf.Tensor) -> tf.data.Dataset:
        file = tf.data.TFRecordDataset(paths[index], buffer_size=_BYTES_PER_READ_OF_BUCKETS if is_far else 0)
        return file.skip(skips[index]).take(takes[index])

    turns = tf.data.Dataset.from_tensor_slices(order).interleave(
        records, CYCLE_LENGTH, BLOCK_LENGTH, tf.data.AUTOTUNE, deterministic=True
    )
    # A file that was cut off is an error, not a shorter epoch.
    return turns.apply(tf.data.experimental.assert_cardinality(_count(shards)))


def _read_on(shards: Sequence[Shard], count: int) -> tf.data.Dataset:
    """What is left of the records of shards, begun in their order and read in turns, behind the first `count`."""
    left, skipped = after(shards, count)
    return _read(left, tf.range(len(left))).skip(skipped)


def _shuffled(values: tf.Tensor, key: tf.Tensor, counter: int | tf.Tensor) -> tf.Tensor:
    """A permutation along the first axis; unlike `Dataset.shuffle` it does not depend on the global seed."""
    return tf.random.experimental.stateless_shuffle(values, tf.random.fold_in(key, counter))
