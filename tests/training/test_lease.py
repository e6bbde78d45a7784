"""One training at a time at an address, whoever was there before and however it ended."""

import threading
import time

import pytest
import tensorflow as tf

from keras_nest.mirror import mirrored
from keras_nest.outputs import whole
from keras_nest.training import lease
from keras_nest.training.lease import FILE, InUseError, leased


@pytest.fixture(autouse=True)
def quickly(monkeypatch):
    for name, seconds in (("BEAT", 0.05), ("SILENCE", 0.4), ("SETTLE", 0.1)):
        monkeypatch.setattr(lease, name, seconds)


@pytest.fixture
def bucket(request):
    return f"ram://{request.node.name}/run"


def try_to_take(bucket, found):
    try:
        with mirrored(bucket) as directory, leased(directory):
            found.append("taken")
    except InUseError as error:
        found.append(str(error))


def test_the_second_one_is_refused(bucket):
    found = []
    with mirrored(bucket) as directory, leased(directory):
        other = threading.Thread(target=try_to_take, args=(bucket, found))
        other.start()
        other.join()
    assert found[0].startswith(f"{bucket} is in use: a training is at work there (process ")
    try_to_take(bucket, found)
    assert found[1] == "taken"
    assert not tf.io.gfile.exists(f"{bucket}/{FILE}")


def test_of_two_at_once_one_gets_it(bucket):
    found = []
    others = [threading.Thread(target=try_to_take, args=(bucket, found)) for _ in range(2)]
    for other in others:
        other.start()
    for other in others:
        other.join()
    assert found.count("taken") <= 2
    assert "taken" in found


def test_what_a_killed_one_left_is_taken_over(bucket, capsys):
    tf.io.gfile.makedirs(bucket)
    with tf.io.gfile.GFile(f"{bucket}/{FILE}", "w") as file:
        file.write("process 1 on elsewhere, 00\n7\n")
    found = []
    try_to_take(bucket, found)
    assert found == ["taken"]
    assert "process 1 on elsewhere, 00) did not end in order; taken over." in capsys.readouterr().out


def test_one_that_was_taken_for_gone_writes_nothing(bucket):
    with pytest.raises(InUseError, match="process 2 on elsewhere"):
        lose_it(bucket)
    assert not tf.io.gfile.exists(f"{bucket}/a.txt")
    with tf.io.gfile.GFile(f"{bucket}/{FILE}") as file:
        assert file.read().startswith("process 2 on elsewhere")


def lose_it(bucket):
    with mirrored(bucket) as directory, leased(directory):
        with whole(f"{bucket}/{FILE}") as target, tf.io.gfile.GFile(target, "w") as file:
            file.write("process 2 on elsewhere\n0\n")
        time.sleep(0.3)
        (directory / "a.txt").write_text("of the first")


def test_the_directory_is_brought_up_to_date(bucket):
    with mirrored(bucket) as directory:
        with mirrored(bucket) as other, leased(other):
            (other / "a.txt").write_text("1")
        with leased(directory):
            assert (directory / "a.txt").read_text() == "1"
            (directory / "a.txt").write_text("2")
        with tf.io.gfile.GFile(f"{bucket}/a.txt") as file:
            assert file.read() == "2"


def test_a_local_directory_has_no_lease(tmp_path):
    with leased(tmp_path):
        assert not list(tmp_path.iterdir())
