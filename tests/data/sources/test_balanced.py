"""All classes come up equally often, each image of a class once before any again, and from any step on."""

import collections
import dataclasses

import numpy as np
import pytest

from keras_nest.data import Host
from keras_nest.data.sources.balanced import BalancedExamples, balance_classes
from keras_nest.data.sources.base import IndexedExamples
from keras_nest.data.sources.records import StreamedExamples
from keras_nest.data.sources.table import Row, source_of
from keras_nest.targets import ONE_CLASS

LABELS = np.repeat([0, 1, 2], [11, 3, 1])
ONLY = Host()


@pytest.fixture(scope="module")
def balanced():
    """Images whose first pixel is their number."""
    images = np.arange(len(LABELS), dtype=np.uint8)[:, None, None, None] * np.ones((1, 1, 1, 3), np.uint8)
    order = np.random.default_rng(0).permutation(len(LABELS))
    return BalancedExamples(IndexedExamples(images[order], LABELS[order]))


def numbers(examples, count, seed=3, host=ONLY, first=0):
    taken = examples.shuffled(seed, host, first).take(count)
    return [(int(label), int(content[0, 0, 0])) for content, label, _ in taken]


def test_every_round_has_each_class_once(balanced):
    seen = numbers(balanced, 99)
    rounds = [[label for label, _ in seen[start : start + 3]] for start in range(0, 99, 3)]
    assert all(sorted(each) == [0, 1, 2] for each in rounds)
    assert len({tuple(each) for each in rounds}) > 1
    assert all(LABELS[number] == label for label, number in seen)


def test_of_a_class_each_image_comes_up_before_any_again(balanced):
    by_class = collections.defaultdict(list)
    for label, number in numbers(balanced, 99):
        by_class[label].append(number)
    for label, count in ((0, 11), (1, 3), (2, 1)):
        turns = [by_class[label][start : start + count] for start in range(0, 33, count)]
        assert all(len(set(turn)) == count for turn in turns)
    assert by_class[0][:11] != by_class[0][11:22]


def test_it_begins_anywhere_and_hosts_share_the_work(balanced):
    whole = numbers(balanced, 40)
    assert numbers(balanced, 30, first=10) == whole[10:]
    parts = [numbers(balanced, 20, host=Host(index, 2)) for index in range(2)]
    assert [each for pair in zip(*parts, strict=True) for each in pair] == whole
    assert numbers(balanced, 40, seed=4) != whole
    assert len(balanced) == 15
    assert len(list(balanced.in_order(ONLY))) == 15


def test_of_a_data_set(tmp_path):
    rows = [Row(f"{n}.jpg", "ab"[n > 5], part, 1) for n in range(7) for part in ("train", "test")]
    source = balance_classes(source_of(rows, ONE_CLASS, tmp_path / "images.csv"))
    assert (source.info.num_train, len(source.train), len(source.test)) == (7, 7, 7)
    stream = dataclasses.replace(source, train=StreamedExamples([], None, 1))
    with pytest.raises(
        ValueError, match=r"^sampling is 'balanced', for which each image of .* must have a class and a"
    ):
        balance_classes(stream)
