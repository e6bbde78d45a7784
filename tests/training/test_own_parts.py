"""Which batches Keras divides among machines; tests/training/test_multi_worker.py trains on two."""

import pytest
import tensorflow as tf

from keras_nest.training.own_parts import OwnParts


class Halving:
    """What Keras' distributions do on one of two machines."""

    machine = 0

    def distribute_dataset(self, dataset):
        return dataset.rebatch(2).shard(2, self.machine)


class Distribution(OwnParts, Halving):
    """As those of the package are made."""


def batches(count=12):
    return tf.data.Dataset.range(count).batch(4)


def test_whole_batches_are_divided():
    found = Distribution().distribute_dataset(batches())
    assert [batch.tolist() for batch in found.as_numpy_iterator()] == [[0, 1], [4, 5], [8, 9]]
    assert found.cardinality() == 3


def test_own_parts_stay_what_they_are():
    own = OwnParts.mark(batches())
    assert Distribution().distribute_dataset(own) is own


def test_endless_ones_stay_endless():
    found = Distribution().distribute_dataset(batches().repeat())
    assert found.cardinality() < 0
    assert next(iter(found)).numpy().tolist() == [0, 1]


def test_a_machine_that_gets_fewer_batches_says_so(monkeypatch):
    """The other would wait for it: the last batch is a single image."""
    monkeypatch.setattr(Halving, "machine", 1)
    parts = Distribution().distribute_dataset(batches(9))
    with pytest.raises(tf.errors.FailedPreconditionError, match="expected to contain 3 elements"):
        list(parts)
