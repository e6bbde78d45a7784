"""TFRecord files: the order of earlier versions, and that nothing is read of what is left out."""

import hashlib
import pathlib

import pytest
import tensorflow as tf

from keras_nest.data.sources.base import ONLY_HOST, Example, Host
from keras_nest.data.sources.records import StreamedExamples
from keras_nest.data.sources.turns import Shard

BUFFER = 50
# Whole blocks, parts of them, and more files than are read in turns.
COUNTS = [16, 32, 5, 48, 17, 1, 33, 64] * 5
PROCESS = pathlib.Path("/proc/self/io")


def write(folder, counts, record):
    shards = []
    for number, count in enumerate(counts):
        path = str(folder / f"{number}")
        with tf.io.TFRecordWriter(path) as writer:
            for place in range(count):
                writer.write(record(number, place))
        left_out = int(count > 40)
        shards.append(Shard(path, left_out, count - left_out))
    return StreamedExamples(shards, lambda record: Example(record, tf.constant(0), tf.constant(1)), BUFFER)


@pytest.fixture(scope="module")
def examples(tmp_path_factory):
    return write(tmp_path_factory.mktemp("records"), COUNTS, lambda number, place: f"{number}:{place}".encode())


def contents(examples, host, first, count):
    return [example.content for example in examples.shuffled(5, host, first).take(count).as_numpy_iterator()]


@pytest.mark.parametrize(
    ("host", "recorded"), [(ONLY_HOST, "2f598c1ba7ec9f88"), (Host(1, 2), "e52a398b62b25447")], ids=["alone", "of two"]
)
def test_order_is_that_of_earlier_versions_wherever_it_begins(examples, host, recorded):
    epoch = len(host.part(len(examples)))
    whole = contents(examples, host, 0, epoch + 120)
    assert hashlib.sha256(b",".join(whole)).hexdigest()[:16] == recorded
    for first in (333, epoch + BUFFER):
        assert contents(examples, host, first, 60) == whole[first : first + 60], first


@pytest.mark.skipif(not PROCESS.exists(), reason="Linux counts what a process reads")
def test_what_is_left_out_is_not_read(tmp_path):
    examples = write(tmp_path, [250] * 32, lambda number, place: bytes(5_000))

    def megabytes():
        return int(next(line.split()[1] for line in PROCESS.read_text().splitlines() if line.startswith("rchar"))) / 1e6

    before = megabytes()
    next(iter(examples.shuffled(1, ONLY_HOST, 7_900)))
    # Of 40, the hundred that are left and the headers of the others.
    assert megabytes() - before < 4
