"""Reading in turns: what is left after a while is what `interleave` would have read."""

import time

import numpy as np
import pytest
import tensorflow as tf

from keras_nest.data.sources.turns import BLOCK_LENGTH, CYCLE_LENGTH, Shard, after


def read_in_turns(shards):
    """(file, record) of all records, by TensorFlow."""
    paths = [shard.path for shard in shards]
    skips, takes = (tf.constant(column, tf.int64) for column in list(zip(*shards, strict=True))[1:])

    def records(number):
        records = tf.data.Dataset.range(skips[number], skips[number] + takes[number])
        return records.map(lambda record: (tf.constant(paths)[number], record))

    numbers = tf.data.Dataset.range(len(shards))
    turns = numbers.interleave(records, CYCLE_LENGTH, BLOCK_LENGTH, tf.data.AUTOTUNE, deterministic=True)
    return list(turns.as_numpy_iterator())


# Fewer files than turns; as many; more, whole blocks among them; files of nothing.
@pytest.mark.parametrize("counts", [[40, 7], [16, 32, 48] * 5 + [1], [16, 5, 32, 0, 17, 1, 33, 16] * 3, [20] * 18])
def test_what_is_left(counts):
    shards = [Shard(f"{number}", number % 3, count) for number, count in enumerate(counts)]
    whole = read_in_turns(shards)
    for count in [*np.random.default_rng(0).choice(len(whole), 3, replace=False).tolist(), 0, len(whole) - 1]:
        left, skipped = after(shards, count)
        assert 0 <= skipped < BLOCK_LENGTH
        assert read_in_turns(left)[skipped:] == whole[count:], count


def test_imagenet_takes_no_time():
    shards = [Shard(f"{number}", 0, 1251) for number in range(1024)]
    start = time.perf_counter()
    left, _ = after(shards, 1_200_000)
    assert sum(shard.take for shard in left) - 81_024 < BLOCK_LENGTH
    assert time.perf_counter() - start < 5
