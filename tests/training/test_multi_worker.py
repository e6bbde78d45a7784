"""Two machines, as two processes of this one: the same training as on one, and what happens when one is lost.

Under TensorFlow's strategy, and on JAX, there with two devices each.
"""

import contextlib
import csv
import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import time

import keras
import numpy as np
import pytest

import keras_nest
from keras_nest.cli.train import run
from tests.models.test_backends import QUICK_COMPILATION

ROOT = pathlib.Path(__file__).resolve().parents[2]
BATCH, WORKERS = 48, 2
# Of each machine.
DEVICES = {"tensorflow": 1, "jax": 2}
# As configs/digits_nest.py has them, but smaller, and without stochastic depth, of which each replica of TensorFlow
# draws its own masks.
MODEL = {
    "image_size": 16,
    "init_patch_embed_size": 4,
    "embedding_dim": 8,
    "num_heads": 2,
    "scale_hidden_dims": 2,
    "attn_type": "local_multi_head",
    "num_layers_per_block": (1, 1),
    "stochastic_depth_drop": 0.0,
}
FIELDS = (
    f"--config={ROOT / 'configs' / 'digits_nest.py'}",
    "--config.warmup_epochs=0",
    "--config.num_epochs=2",
    "--config.checkpoint_every_steps=10",
    "--config.grad_clip_max_norm=1.0",
    *(f"--config.model.{name}={str(value).replace(' ', '')}" for name, value in MODEL.items()),
)
# ml_collections loads configuration files with it.
pytestmark = pytest.mark.slow


def command(workdir, start, *fields):
    paths = f"--workdir={workdir}", f"--config.init_checkpoint={start}"
    return [sys.executable, str(ROOT / "train_keras.py"), *FIELDS, *paths, *fields]


def free_ports():
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(WORKERS)]
        for one in sockets:
            one.bind(("localhost", 0))
        return [one.getsockname()[1] for one in sockets]


@contextlib.contextmanager
def started(backend, workdir, start, *fields):
    """The processes; none is left when the block ends."""
    share = f"--config.per_device_batch_size={BATCH // WORKERS // DEVICES[backend]}"
    flags = f"{QUICK_COMPILATION} --xla_force_host_platform_device_count={DEVICES[backend]}"
    cluster = {"worker": [f"localhost:{port}" for port in free_ports()]}
    workers = []
    for index in range(WORKERS):
        place = {"cluster": cluster, "task": {"type": "worker", "index": index}}
        environment = {**os.environ, "TF_CONFIG": json.dumps(place), "XLA_FLAGS": flags}
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        # An address, of which each machine has a copy.
        line = command(f"file://{workdir}", start, share, f"--backend={backend}", "--strategy=multi_worker", *fields)
        workers.append(subprocess.Popen(line, cwd=ROOT, env=environment, **pipes))
    try:
        yield workers
    finally:
        for worker in workers:
            worker.kill()
            worker.communicate()


def finish(workers):
    """What each said, and its status; without what JAX's threads say of sums, and of machines that begin later."""
    unsaid = re.compile(r"(?m)^(.*(\[Gloo\]|peer ranks|Waiting for the other machines of TF_CONFIG).*|\d*)\n")
    spoken = [[unsaid.sub("", words) for words in worker.communicate(timeout=300)] for worker in workers]
    return [(*words, worker.returncode) for words, worker in zip(spoken, workers, strict=True)]


def history(workdir):
    with (workdir / "history.csv").open() as file:
        timings = ("seconds", "images_per_second")
        return [{k: v for k, v in row.items() if k not in timings} for row in csv.DictReader(file)]


def weights(workdir):
    assert keras_nest.__name__  # registers what the file names
    return keras.models.load_model(workdir / "model.keras").get_weights()


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    """New weights, which another backend would draw otherwise."""
    path = tmp_path_factory.mktemp("start") / "start.keras"
    keras_nest.create_model("nest_tiny_s16_32", num_classes=10, **MODEL).save(path)
    return path


@pytest.fixture(scope="module")
def alone(tmp_path_factory, start):
    """The training on one machine, which nothing disturbs."""
    workdir = tmp_path_factory.mktemp("alone") / "run"
    run(command(workdir, start, f"--config.per_device_batch_size={BATCH}", "--strategy=one_device")[1:])
    return workdir


def test_two_machines(start, alone, tmp_path):
    """One training that loses a machine and goes on; it ends as one that nothing disturbs on one machine."""
    assert_a_lost_machine_is_told("tensorflow", tmp_path, start)
    assert_both_end_where_one_is_asked_to("tensorflow", tmp_path, start)
    with started("tensorflow", tmp_path, start, "--config.steps_per_execution=4") as workers:
        assert_both_end_cleanly_and_one_speaks(tmp_path, "on 2 CPUs of 2 machines.", *finish(workers))
    assert_the_same_as_on_one_machine(tmp_path, alone)


def test_two_machines_on_jax(start, alone, tmp_path):
    """It goes on with weights that the devices of a machine share. What is said of a lost one: test_jax_machines.py."""
    assert_both_end_where_one_is_asked_to("jax", tmp_path, start)
    with started("jax", tmp_path, start, "--model_parallel=2") as workers:
        place = "on 4 CPUs of 2 machines with JAX, the weights divided among 2."
        assert_both_end_cleanly_and_one_speaks(tmp_path, place, *finish(workers))
    assert_the_same_as_on_one_machine(tmp_path, alone)


def assert_both_end_cleanly_and_one_speaks(workdir, place, chief, other):
    output, *rest = chief
    assert rest == ["", 0]
    assert other == ("", "", 0)
    assert place in output
    assert "Going on after step" in output
    assert {"model.keras", "metrics.json", "history.csv", "checkpoints"} < {path.name for path in workdir.iterdir()}


def assert_the_same_as_on_one_machine(together, alone):
    for ours, expected in zip(weights(together), weights(alone), strict=True):
        np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-5)
    for ours, expected in zip(history(together), history(alone), strict=True):
        assert {k: float(v or 0) for k, v in ours.items()} == pytest.approx(
            {k: float(v or 0) for k, v in expected.items()}, rel=1e-5, abs=1e-6
        )


def assert_a_lost_machine_is_told(backend, workdir, start):
    with started(backend, workdir, start) as workers:
        wait_for(lambda: (workdir / "checkpoints" / "checkpoint").exists(), workers[0])
        workers[1].send_signal(signal.SIGKILL)
        _, errors = workers[0].communicate(timeout=300)
    assert workers[0].returncode == 1
    assert errors.startswith("error: A machine of this training was lost (")
    assert errors.count("\n") == 1
    assert "start the same command again on all of them" in errors
    assert not (workdir / "metrics.json").exists()


def assert_both_end_where_one_is_asked_to(backend, workdir, start):
    with started(backend, workdir, start) as workers:
        before = newest(workdir)
        wait_for(lambda: newest(workdir) != before, workers[0])
        workers[1].send_signal(signal.SIGTERM)
        (output, errors, code), (*_, other) = finish(workers)
    assert (code, other) == (143, 143), errors
    assert f"Stopped after step {newest(workdir)}; the same command goes on from there." in output


def newest(workdir):
    """Step of the newest checkpoint."""
    return max((int(path.stem.removeprefix("ckpt-")) for path in workdir.glob("checkpoints/ckpt-*.index")), default=0)


def wait_for(happened, worker, seconds=200):
    end = time.monotonic() + seconds
    while not happened():
        assert worker.poll() is None, worker.communicate()[1]
        assert time.monotonic() < end
        time.sleep(0.05)
