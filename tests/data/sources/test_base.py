"""Orders of examples: every image once an epoch however many hosts read, and the same on every run."""

import itertools

import numpy as np
import pytest
import tensorflow as tf

from keras_nest.data.orientation import UPRIGHT
from keras_nest.data.sources.base import Host, IndexedExamples

COUNT = 13
ALONE = Host()


@pytest.fixture(scope="module")
def examples():
    """Images and labels that tell their index."""
    pixels = np.broadcast_to(np.arange(COUNT, dtype=np.uint8)[:, None, None, None], (COUNT, 2, 3, 3))
    return IndexedExamples(pixels, np.arange(COUNT))


def hosts(count):
    return [Host(index, count) for index in range(count)]


def shuffled(examples, number, seed=0, host=ALONE, first=0):
    """Labels of the first examples."""
    return [int(example.label) for example in examples.shuffled(seed, host, first).take(number)]


def together(examples, count, number):
    """Labels that the hosts read, one from each in turn."""
    rows = zip(*(shuffled(examples, -(-number // count), host=host) for host in hosts(count)), strict=True)
    return list(itertools.chain.from_iterable(rows))[:number]


class TestHost:
    @pytest.mark.parametrize("number", [0, 1, 2, 13, 100])
    @pytest.mark.parametrize("count", [1, 2, 3, 7])
    def test_parts_are_everything_once(self, number, count):
        parts = [host.part(number) for host in hosts(count)]
        assert list(itertools.chain(*parts)) == list(range(number))
        assert max(map(len, parts)) - min(map(len, parts)) <= 1


class TestContent:
    def test_pixels(self, examples):
        assert len(examples) == COUNT
        for n, example in enumerate(examples.in_order(ALONE)):
            assert example.content.dtype == tf.uint8
            np.testing.assert_array_equal(example.content, np.full((2, 3, 3), n))
            assert (example.label, example.orientation) == (n, UPRIGHT)
            assert example.label.dtype == example.orientation.dtype == tf.int32

    def test_strings_and_orientations(self):
        examples = IndexedExamples(np.array([b"a\0b", b"\xff", b""], object), [4, 4, 2], np.array([1, 6, 8], np.uint8))
        read = [tuple(value.numpy() for value in example) for example in examples.in_order(ALONE)]
        assert read == [(b"a\0b", 4, 1), (b"\xff", 4, 6), (b"", 2, 8)]

    def test_read(self):
        examples = IndexedExamples(np.array(["ü", "b"]), [0, 1], read=lambda name: tf.strings.join([name, "!"]))
        assert [example.content.numpy().decode() for example in examples.in_order(ALONE)] == ["ü!", "b!"]

    def test_only_what_is_asked_for_is_read(self, tmp_path):
        paths = [str(tmp_path / name) for name in "abc"]
        (tmp_path / "c").write_bytes(b"third")
        examples = IndexedExamples(np.array(paths), [0, 1, 2], read=tf.io.read_file)
        assert next(iter(examples.in_order(Host(2, 3)))).content == b"third"

    @pytest.mark.parametrize(
        ("images", "labels", "orientations", "message"),
        [
            (3, 2, None, "There are 3 images, 2 labels and 2 orientations; each image must have one of each."),
            (3, 3, 4, "There are 3 images, 3 labels and 4 orientations"),
        ],
    )
    def test_different_lengths(self, images, labels, orientations, message):
        orientations = None if orientations is None else np.ones(orientations)
        with pytest.raises(ValueError, match=message):
            IndexedExamples(np.zeros((images, 1, 1, 3), np.uint8), np.zeros(labels), orientations)


class TestInOrder:
    @pytest.mark.parametrize("count", [1, 2, 3, COUNT + 2])
    def test_hosts_have_consecutive_parts(self, examples, count):
        labels = [[int(example.label) for example in examples.in_order(host)] for host in hosts(count)]
        assert list(itertools.chain(*labels)) == list(range(COUNT))


class TestShuffled:
    def test_epochs_are_permutations_and_differ(self, examples):
        labels = np.reshape(shuffled(examples, 4 * COUNT), (4, COUNT))
        assert all(sorted(epoch) == list(range(COUNT)) for epoch in labels.tolist())
        assert len({tuple(epoch) for epoch in [range(COUNT), *labels.tolist()]}) == 5

    @pytest.mark.parametrize("count", [2, 3])
    def test_hosts_together_see_each_image_once_an_epoch(self, examples, count):
        # In turns, they are the order of one host.
        assert together(examples, count, 3 * COUNT) == shuffled(examples, 3 * COUNT)

    @pytest.mark.parametrize("host", [ALONE, Host(1, 3)])
    @pytest.mark.parametrize("first", [1, COUNT, 2 * COUNT + 5])
    def test_leaving_out_the_first(self, examples, host, first):
        assert shuffled(examples, 8, host=host, first=first) == shuffled(examples, first + 8, host=host)[first:]

    def test_what_is_left_out_is_not_read(self, tmp_path):
        examples = IndexedExamples(np.array([str(tmp_path / "a")]), [0], read=tf.io.read_file)
        with pytest.raises(tf.errors.NotFoundError):
            shuffled(examples, 1)
        (tmp_path / "a").touch()
        assert shuffled(examples, 1, first=10**12) == [0]

    def test_order_depends_on_the_seed_alone(self, examples):
        orders = []
        for state in (1, 2):
            tf.random.set_seed(state)
            orders.append(shuffled(examples, 2 * COUNT))
        assert orders[0] == orders[1]
        seeds = [shuffled(examples, COUNT, seed=seed) for seed in (0, 1, 2, -1, 2**40)]
        assert len(set(map(tuple, seeds))) == 5

    def test_orders_are_about_uniform(self):
        examples = IndexedExamples(np.zeros((4, 1, 1, 3), np.uint8), np.arange(4))
        orders = np.reshape(shuffled(examples, 4 * 600), (600, 4))
        counts = [np.bincount(orders[:, place], minlength=4) for place in range(4)]
        # 600 epochs over four images: 150 each, deviation 10.6.
        assert np.abs(np.array(counts) - 150).max() < 4.5 * 10.6

    def test_a_single_image(self):
        assert shuffled(IndexedExamples(np.zeros((1, 1, 1, 3), np.uint8), [7]), 3) == [7, 7, 7]


@pytest.mark.parametrize(("index", "count"), [(2, 2), (-1, 2), (0, 0)])
def test_hosts_that_are_not_there(index, count):
    with pytest.raises(ValueError, match=rf"^There is no host {index} of {count}; they are counted from 0\.$"):
        Host(index, count)
