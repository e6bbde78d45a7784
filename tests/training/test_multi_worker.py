"""Two machines, as two processes of this one: the same training as on one, and what happens when one is lost."""

import contextlib
import csv
import json
import os
import pathlib
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

ROOT = pathlib.Path(__file__).resolve().parents[2]
BATCH, WORKERS = 48, 2
FIELDS = (
    f"--config={ROOT / 'configs' / 'digits_nest.py'}",
    "--config.warmup_epochs=0",
    "--config.checkpoint_every_steps=10",
    "--config.model.image_size=16",
    "--config.model.init_patch_embed_size=4",
    "--config.model.embedding_dim=8",
    "--config.model.num_layers_per_block=(1,1)",
    # Its masks are drawn by each replica for itself.
    "--config.model.stochastic_depth_drop=0.0",
    "--config.grad_clip_max_norm=1.0",
)
# ml_collections loads configuration files with it.
pytestmark = pytest.mark.slow


def command(workdir, *fields):
    return [sys.executable, str(ROOT / "train_keras.py"), *FIELDS, f"--workdir={workdir}", *fields]


def free_ports():
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(WORKERS)]
        for one in sockets:
            one.bind(("localhost", 0))
        return [one.getsockname()[1] for one in sockets]


@contextlib.contextmanager
def started(workdir, *fields):
    """The processes; none is left when the block ends."""
    share = f"--config.per_device_batch_size={BATCH // WORKERS}"
    cluster = {"worker": [f"localhost:{port}" for port in free_ports()]}
    workers = []
    for index in range(WORKERS):
        place = {"cluster": cluster, "task": {"type": "worker", "index": index}}
        environment = {**os.environ, "TF_CONFIG": json.dumps(place)}
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        # An address, of which each machine has a copy.
        line = command(f"file://{workdir}", share, "--strategy=multi_worker", *fields)
        workers.append(subprocess.Popen(line, cwd=ROOT, env=environment, **pipes))
    try:
        yield workers
    finally:
        for worker in workers:
            worker.kill()
            worker.communicate()


def finish(workers):
    spoken = [worker.communicate(timeout=300) for worker in workers]
    return [(*words, worker.returncode) for words, worker in zip(spoken, workers, strict=True)]


def history(workdir):
    with (workdir / "history.csv").open() as file:
        timings = ("seconds", "images_per_second")
        return [{k: v for k, v in row.items() if k not in timings} for row in csv.DictReader(file)]


def weights(workdir):
    assert keras_nest.__name__  # registers what the file names
    return keras.models.load_model(workdir / "model.keras").get_weights()


def test_two_machines(tmp_path):
    """One training that loses a machine and goes on; it ends as one that nothing disturbs on one machine."""
    together = tmp_path / "together"
    assert_a_lost_machine_is_told(together)
    assert_both_end_where_one_is_asked_to(together)
    with started(together, "--config.num_epochs=2", "--config.steps_per_execution=4") as workers:
        spoken = finish(workers)
    assert_both_end_cleanly_and_one_speaks(together, *spoken)
    assert_the_same_as_on_one_machine(together, tmp_path / "alone")


def assert_both_end_cleanly_and_one_speaks(workdir, chief, other):
    output, *rest = chief
    assert rest == ["", 0]
    assert other == ("", "", 0)
    assert "on 2 CPUs of 2 machines" in output
    assert "Going on after step" in output
    assert {"model.keras", "metrics.json", "history.csv", "checkpoints"} < {path.name for path in workdir.iterdir()}


def assert_the_same_as_on_one_machine(together, alone):
    line = command(alone, f"--config.per_device_batch_size={BATCH}", "--config.num_epochs=2", "--strategy=one_device")
    run(line[1:])
    for ours, expected in zip(weights(together), weights(alone), strict=True):
        np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-5)
    for ours, expected in zip(history(together), history(alone), strict=True):
        assert {k: float(v or 0) for k, v in ours.items()} == pytest.approx(
            {k: float(v or 0) for k, v in expected.items()}, rel=1e-5, abs=1e-6
        )


def assert_a_lost_machine_is_told(workdir):
    with started(workdir, "--config.num_epochs=2") as workers:
        wait_for(lambda: (workdir / "checkpoints" / "checkpoint").exists(), workers[0])
        workers[1].send_signal(signal.SIGKILL)
        _, errors = workers[0].communicate(timeout=300)
    assert workers[0].returncode == 1
    assert errors.startswith("error: A machine of this training was lost (")
    assert errors.count("\n") == 1
    assert "start the same command again on all of them" in errors
    assert not (workdir / "metrics.json").exists()


def assert_both_end_where_one_is_asked_to(workdir):
    with started(workdir, "--config.num_epochs=2") as workers:
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
