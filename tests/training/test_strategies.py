"""Where a training runs: which strategy, in whose words, and who gets which images."""

import json
import socket
from unittest import mock

import numpy as np
import pytest
import tensorflow as tf

from keras_nest.data import Host
from keras_nest.training import create_strategy, distribute, strategies
from keras_nest.training.strategies import describe, is_chief, is_tpu, machines

REMEDY = r"tensorflow-tpu==2.19.1 in an environment of its own, or choose --strategy=auto without --tpu\.$"


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch):
    for name in ("TPU_NAME", "TF_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(strategies, "is_google_cloud", lambda: False)


def mirrored():
    return create_strategy("mirrored")


def workers(count, task_type="worker", task_id=0, **others):
    """What is asked of the strategy of several machines, with two replicas on each."""
    cluster = {"worker": [f"worker{index}:1" for index in range(count)], **others}
    resolver = tf.distribute.cluster_resolver.SimpleClusterResolver(
        tf.train.ClusterSpec(cluster), task_type=task_type, task_id=task_id
    )
    strategy = mock.Mock(spec=tf.distribute.MultiWorkerMirroredStrategy)
    strategy.cluster_resolver, strategy.num_replicas_in_sync = resolver, 2 * sum(map(len, cluster.values()))
    return strategy


def cores(count, hosts):
    strategy = mock.Mock(spec=tf.distribute.TPUStrategy)
    strategy.num_replicas_in_sync = count
    strategy.extended = mock.Mock(num_hosts=hosts)
    return strategy


class TestChoice:
    @pytest.mark.parametrize("name", ["auto", "one_device"])
    def test_one_device(self, name):
        strategy = create_strategy(name)
        assert strategy is tf.distribute.get_strategy()
        assert strategy.num_replicas_in_sync == 1

    def test_weights_are_divided_on_jax_alone(self):
        with pytest.raises(ValueError, match=r"Weights are divided among 2 devices .* by --backend=jax alone\.$"):
            create_strategy("mirrored", model_parallel=2)

    def test_all_devices_of_this_machine(self):
        assert isinstance(mirrored(), tf.distribute.MirroredStrategy)
        assert mirrored().num_replicas_in_sync == len(tf.config.list_logical_devices("CPU")) == 2

    def test_there_is_one_for_all(self):
        """The sums of a second one would get mixed up with those of the first."""
        assert create_strategy("mirrored") is create_strategy("mirrored")

    def test_several_gpus_are_taken(self, monkeypatch):
        monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: ["GPU:0", "GPU:1"])
        assert isinstance(create_strategy(), tf.distribute.MirroredStrategy)

    @pytest.mark.parametrize("name", ["auto", "multi_worker"])
    def test_machines_of_tf_config(self, monkeypatch, name):
        monkeypatch.setenv("TF_CONFIG", json.dumps({"cluster": {"worker": ["a:1", "b:1"]}}))
        monkeypatch.setattr(tf.distribute, "MultiWorkerMirroredStrategy", lambda: "several machines")
        assert create_strategy(name) == "several machines"

    def test_without_tf_config(self):
        with pytest.raises(ValueError, match=r'^TF_CONFIG is not set; every machine needs it, such as {"cluster"'):
            create_strategy("multi_worker")

    def test_unknown(self):
        with pytest.raises(ValueError, match="There is no strategy 'mirored'; did you mean mirrored"):
            create_strategy("mirored")


class TestWithoutTpu:
    """One sentence, at once; TensorFlow would try for minutes."""

    @pytest.mark.parametrize("arguments", [("tpu",), ("tpu", "local"), ("auto", "my-tpu")])
    def test_no_cloud(self, arguments):
        name = arguments[1] if len(arguments) > 1 else "local"
        message = f"^The TPU '{name}' cannot be found, since this machine is none of Google Cloud; .*{REMEDY}"
        with pytest.raises(ConnectionError, match=message):
            create_strategy(*arguments)

    def test_named_by_the_environment(self, monkeypatch):
        monkeypatch.setenv("TPU_NAME", "my-tpu")
        with pytest.raises(ConnectionError, match="The TPU 'my-tpu' cannot be found"):
            create_strategy()
        assert create_strategy("one_device").num_replicas_in_sync == 1

    @pytest.mark.parametrize(("address", "port"), [("grpc://10.0.0.2", 8470), ("grpc://10.0.0.2:99", 99)])
    def test_nobody_at_the_address(self, monkeypatch, address, port):
        asked = []

        def refuse(place, timeout):
            asked.append((place, timeout))
            raise ConnectionRefusedError("refused")

        monkeypatch.setattr(socket, "create_connection", refuse)
        with pytest.raises(ConnectionError, match=f"^No TPU answers at grpc://10.0.0.2:{port} .refused.; .*{REMEDY}"):
            create_strategy("tpu", address)
        ((place, timeout),) = asked
        assert place == ("10.0.0.2", port)
        assert timeout <= 5

    @pytest.mark.parametrize("address", ["grpc://", "grpc://:8470", "grpc://host:port", "grpc://host:1:2"])
    def test_no_address(self, address):
        with pytest.raises(ValueError, match=f"^The TPU address '{address}' is not grpc://HOST:PORT.$"):
            create_strategy("tpu", address)

    @pytest.mark.parametrize("prefix", ["", "Graph execution error:\n\n"])
    def test_tensorflow_that_knows_no_tpu(self, monkeypatch, prefix):
        """What TensorFlow 2.21 says; the real call would take the devices of this process away."""

        def initialize(resolver):
            raise tf.errors.NotFoundError(None, None, f"{prefix}TPUs not found in the cluster.\nMore lines.")

        monkeypatch.setattr(strategies, "is_google_cloud", lambda: True)
        monkeypatch.setattr(tf.tpu.experimental, "initialize_tpu_system", initialize)
        message = r"^The TPU 'local' does not start under TensorFlow 2\.\S+ \(TPUs not found in the cluster\.\); .*"
        with pytest.raises(ConnectionError, match=message + REMEDY):
            create_strategy("tpu")


@pytest.mark.parametrize(
    ("strategy", "words", "count"),
    [
        (tf.distribute.get_strategy, "the CPU", 1),
        (mirrored, "2 CPUs", 1),
        (lambda: workers(3), "6 CPUs of 3 machines", 3),
        (lambda: workers(1, chief=["chief:1"]), "4 CPUs of 2 machines", 2),
        (lambda: cores(8, 1), "8 TPU cores", 1),
        (lambda: cores(16, 2), "16 TPU cores", 2),
    ],
)
def test_in_words(strategy, words, count):
    strategy = strategy()
    assert (describe(strategy), machines(strategy)) == (words, count)
    assert is_tpu(strategy) == ("TPU" in words)


@pytest.mark.parametrize(
    ("strategy", "expected"),
    [
        (tf.distribute.get_strategy, True),
        (mirrored, True),
        (lambda: workers(2), True),
        (lambda: workers(2, task_id=1), False),
        (lambda: workers(2, chief=["chief:1"]), False),
        (lambda: workers(2, "chief", chief=["chief:1"]), True),
    ],
)
def test_who_writes(strategy, expected):
    assert is_chief(strategy()) == expected


class TestDistribute:
    BATCHES, BATCH = 3, 6

    def batches_of(self, host):
        assert host == Host(0, 1)
        size = self.BATCHES * self.BATCH
        pairs = tf.data.Dataset.from_tensor_slices((np.arange(size), np.arange(size) % 5))
        return pairs.batch(self.BATCH, drop_remainder=True)

    def test_one_device_gets_the_batches_themselves(self):
        batches = distribute(tf.distribute.get_strategy(), self.batches_of)
        assert batches.element_spec[0].shape == (self.BATCH,)
        assert int(batches.cardinality()) == self.BATCHES

    def test_replicas_share_each_batch(self):
        """The same images in the same order."""
        batches, strategy = distribute(mirrored(), self.batches_of), mirrored()
        assert batches.cardinality == self.BATCHES
        assert [spec.shape for spec in batches.element_spec[0]._value_specs] == [(self.BATCH // 2,)] * 2
        for found, expected in zip(batches, self.batches_of(Host(0, 1)), strict=True):
            for values, whole in zip(found, expected, strict=True):
                shares = strategy.experimental_local_results(values)
                assert [len(share) for share in shares] == [self.BATCH // 2] * 2
                np.testing.assert_array_equal(np.concatenate(shares), whole)

    @pytest.mark.parametrize(("size", "remainder"), [(9, True), (6, False)])
    def test_batches_that_cannot_be_shared(self, size, remainder):
        batches = tf.data.Dataset.range(18).batch(size, drop_remainder=remainder)
        known = size if remainder else None
        with pytest.raises(ValueError, match=f"^A batch of {known} images cannot be divided among 2 replicas of this"):
            distribute(mirrored(), lambda host: batches)

    def test_endless_batches(self):
        batches = distribute(mirrored(), lambda host: self.batches_of(host).repeat())
        assert batches.cardinality == tf.data.INFINITE_CARDINALITY
        iterator = iter(batches)
        values = [
            np.concatenate(mirrored().experimental_local_results(next(iterator)[0])) for _ in range(2 * self.BATCHES)
        ]
        np.testing.assert_array_equal(np.concatenate(values), np.tile(np.arange(self.BATCHES * self.BATCH), 2))
