"""Machines on JAX: how they find each other, whose data is whose, what is said of a lost one."""

import atexit
import json

import jax
import keras
import pytest
import tensorflow as tf

from keras_nest.cli import train
from keras_nest.training import jax_machines
from keras_nest.training.jax_devices import JaxDevices
from keras_nest.training.jax_machines import OwnParts, find_machines

LOST = (
    "UNKNOWN: Gloo AllGather failed: Connection closed by peer [127.0.0.1]:33169",
    "INTERNAL: NCCL operation ncclAllReduce failed: remote process exited\nand more",
    "UNAVAILABLE: Failed to send RPC to coordination service.",
)


@pytest.fixture
def begun(monkeypatch):
    """What JAX would be told of the machines; nothing is waited for."""
    told = []
    monkeypatch.setattr(keras.distribution, "initialize", lambda *place: told.append(place))
    monkeypatch.setattr(jax.distributed, "is_initialized", lambda: False)
    monkeypatch.delenv("TF_CONFIG", raising=False)
    return told


def name_machines(monkeypatch, cluster, **task):
    monkeypatch.setenv("TF_CONFIG", json.dumps({"cluster": cluster, "task": task}))


@pytest.mark.parametrize(
    ("cluster", "task", "expected"),
    [
        ({"worker": ["a:1", "b:2"]}, {"type": "worker", "index": 1}, ("a:1,b:2", 2, 1)),
        ({"worker": ["b:2", "c:3"], "chief": ["a:1"]}, {"type": "worker", "index": 1}, ("a:1,b:2,c:3", 3, 2)),
        ({"worker": ["b:2"], "chief": ["a:1"]}, {"type": "chief", "index": 0}, ("a:1,b:2", 2, 0)),
    ],
)
def test_machines_of_the_environment(cluster, task, expected, monkeypatch, begun):
    name_machines(monkeypatch, cluster, **task)
    find_machines()
    assert begun == [expected]


def test_a_single_one_needs_no_others(monkeypatch, begun):
    name_machines(monkeypatch, {"chief": ["a:1"]}, type="chief", index=0)
    find_machines()
    assert begun == []


def test_without_names_jax_looks_for_them(begun):
    find_machines()
    assert begun == [(None, None, None)]


def test_who_has_found_each_other_is_not_asked_again(monkeypatch, begun):
    monkeypatch.setattr(jax.distributed, "is_initialized", lambda: True)
    find_machines()
    assert begun == []


@pytest.mark.parametrize(
    "text",
    ["{", "[]", "{}", '{"cluster": {"worker": ["a:1"]}}', '{"cluster": {"worker": ["a:1"]}, "task": {"index": 3}}'],
)
def test_an_environment_that_names_none(text, monkeypatch, begun):
    monkeypatch.setenv("TF_CONFIG", text)
    with pytest.raises(ValueError, match=r"^TF_CONFIG does not name machines, and which of them this is, as in {"):
        find_machines()
    assert begun == []


def test_it_is_said_who_is_waited_for(monkeypatch, begun, capsys):
    name_machines(monkeypatch, {"worker": ["a:1", "b:2"]}, type="worker", index=0)
    monkeypatch.setattr(jax_machines, "_PATIENCE", 0)
    timers = []
    monkeypatch.setattr(keras.distribution, "initialize", lambda *_: timers[0].join())
    made = jax_machines.threading.Timer
    monkeypatch.setattr(jax_machines.threading, "Timer", lambda *given: timers.append(made(*given)) or timers[0])
    find_machines()
    assert capsys.readouterr().err == (
        "Waiting for the other machines of TF_CONFIG, 2 in all; each needs the same command.\n"
    )


@pytest.mark.parametrize("error", [RuntimeError("must be called before any JAX calls"), ValueError("refused.")])
def test_machines_that_do_not_find_each_other(error, monkeypatch, begun):
    def refuse(*_):
        raise error

    name_machines(monkeypatch, {"worker": ["a:1", "b:2"]}, type="worker", index=0)
    monkeypatch.setattr(keras.distribution, "initialize", refuse)
    with pytest.raises(ConnectionError, match=r"^The machines of TF_CONFIG do not find each other \(\w.*[^.]\)\.$"):
        find_machines()


@pytest.mark.parametrize(
    ("fields", "devices", "words"),
    [
        ({"name": "one_device"}, 4, "one_device is for one machine, and here are 2; choose --strategy=auto."),
        (
            {"model_parallel": 4},
            4,
            r"Devices that share the weights \(--model_parallel\) are of one machine; 2 cannot be",
        ),
        ({}, 3, "The machines have different numbers of devices"),
    ],
)
def test_what_several_machines_cannot_do(fields, devices, words, monkeypatch, begun):
    for name, count in {"process_count": 2, "device_count": devices, "local_device_count": 2}.items():
        monkeypatch.setattr(jax, name, lambda count=count: count)
    with pytest.raises(ValueError, match=f"^{words}"):
        JaxDevices(**fields)


@pytest.fixture
def of_two(monkeypatch):
    """Devices of two machines, and what is to happen when the process ends."""
    at_end = []
    monkeypatch.setattr(atexit, "register", at_end.append)
    devices = object.__new__(JaxDevices)
    devices.machines, devices.num_replicas_in_sync = 2, 2
    return devices, at_end


@pytest.mark.parametrize("told", LOST)
def test_a_lost_machine_is_one_sentence(told, of_two, tmp_path, capsys):
    devices, at_end = of_two

    def training():
        raise ValueError(told)

    with pytest.raises(SystemExit) as stopped:
        train.execute(training, devices, tmp_path)
    error = capsys.readouterr().err
    assert stopped.value.code == 1
    assert error.startswith(
        f"error: A machine of this training was lost ({told.splitlines()[0].split(': ', 1)[1][:20]}"
    )
    assert error.count("\n") == 1
    assert jax_machines._end_at_once in at_end


@pytest.mark.parametrize("machines", [1, 2])
def test_other_errors_stay_what_they_are(machines, of_two, tmp_path):
    devices, at_end = of_two
    devices.machines = machines
    told = LOST[0] if machines == 1 else "RESOURCE_EXHAUSTED: Out of memory"

    def training():
        raise RuntimeError(told)

    with pytest.raises(RuntimeError, match=told.split(":")[0]):
        train.execute(training, devices, tmp_path)
    assert jax_machines._end_at_once not in at_end


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
    looked_at = own.enumerate().map(lambda number, batch: batch).prefetch(1)
    assert Distribution().distribute_dataset(looked_at) is looked_at


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
