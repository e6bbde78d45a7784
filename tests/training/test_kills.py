"""A training that is killed six times, from its start-up to its last file, ends as one that is not."""

import dataclasses
import json
import multiprocessing
import os
import pathlib
import random
import re
import sys
import time
from collections.abc import Callable

import keras
import numpy as np
import pytest
import tensorflow as tf

import train_keras
from keras_nest.training.history import read_history
from tests.training import runs

# Most of a start is imports: these processes have theirs behind them.
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["train_keras"])
# 88 steps, of which a process does some ten before it is killed; one level, which is traced sooner than two.
CONFIG = {
    **runs.CONFIG,
    "model": {**runs.CONFIG["model"], "num_layers_per_block": (2,)},
    "num_epochs": 4,
    "ema_decay": 0.0,
    "accum_steps": 1,
    "mix": {},
    "checkpoint_every_steps": 4,
    "eval_every_steps": 44,
}
LAST = "ckpt-88"


def train(workdir):
    with open(workdir.with_suffix(".log"), "ab") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    flag = runs.write_config(workdir.with_suffix(".py"), CONFIG)
    sys.argv = ["train_keras.py", flag, f"--workdir={workdir}"]
    train_keras.run()


def start(workdir):
    process = PROCESSES.Process(target=train, args=(workdir,))
    process.start()
    return process


def exit_code(process):
    process.join()
    return process.exitcode


def newest(workdir):
    found = tf.train.latest_checkpoint(str(workdir / "checkpoints"))
    return found and pathlib.Path(found).name


def version(path):
    """Another number for each file that was moved to a path."""
    return path.stat().st_ino if path.exists() else None


@dataclasses.dataclass
class Kill:
    """Waits until something `has_happened`, then some seconds more, then kills."""

    has_happened: Callable[[], bool]
    seconds: float

    def __call__(self, process):
        while not self.has_happened():
            assert process.is_alive(), "it ended before it was killed"
            time.sleep(0.001)
        time.sleep(self.seconds)
        process.kill()
        assert exit_code(process) == -9, "it ended before it was killed"


def passes(seconds):
    end = time.monotonic() + seconds
    return lambda: time.monotonic() > end


def changes(look, *arguments):
    before = look(*arguments)
    return lambda: look(*arguments) not in (None, before)


def first_of(*conditions):
    return lambda: any(condition() for condition in conditions)


def kills(workdir, starting):
    """Two in the `starting` seconds, two around checkpoints, two while the results are written."""
    lot = random.Random(0)
    for moment in ("starting", "checkpoint") * 2:
        if moment == "starting":
            # The machine may have become faster meanwhile.
            yield Kill(first_of(passes(lot.uniform(0, starting)), changes(newest, workdir)), 0)
        else:
            yield Kill(changes(newest, workdir), lot.uniform(0, 0.25))
    yield Kill(lambda: newest(workdir) == LAST, lot.uniform(0, 0.3))
    yield Kill(changes(version, workdir / "curves.png"), lot.uniform(0, 0.05))


def assert_in_order(workdir):
    """What lies there after a kill is complete, or is not there."""
    if newest(workdir):
        checkpoint = tf.train.load_checkpoint(str(workdir / "checkpoints"))
        names = [name for name in checkpoint.get_variable_to_shape_map() if name.endswith("VARIABLE_VALUE")]
        assert all(np.isfinite(checkpoint.get_tensor(name)).all() for name in names)
        steps = [row["step"] for row in read_history(workdir / "history.csv")]
        assert int(newest(workdir).removeprefix("ckpt-")) in steps
    if (workdir / "model.keras").exists():
        keras.models.load_model(workdir / "model.keras")
    assert not (workdir / "metrics.json").exists()


@pytest.mark.slow
def test_six_kills(tmp_path):
    undisturbed, workdir = tmp_path / "undisturbed", tmp_path / "run"
    process, began = start(undisturbed), time.perf_counter()
    while not newest(undisturbed):
        assert process.is_alive(), undisturbed.with_suffix(".log").read_text()
        time.sleep(0.01)
    starting = time.perf_counter() - began
    assert exit_code(process) == 0
    reached = []
    for kill in kills(workdir, starting):
        kill(start(workdir))
        assert_in_order(workdir)
        reached.append(newest(workdir))
    assert len(reached) == 6
    assert reached[-3] != LAST == reached[-1], "the results were written after all kills in the training"
    assert exit_code(start(workdir)) == 0, workdir.with_suffix(".log").read_text()
    runs.assert_same_results(workdir, undisturbed)
    assert runs.files(workdir / "checkpoints") == runs.files(undisturbed / "checkpoints")
    assert json.loads((workdir / "metrics.json").read_text())["steps"] == 88
    print(f"\nCheckpoints at the kills: {reached}")


@pytest.mark.slow
def test_asked_to_end(tmp_path):
    """SIGTERM loses no step: it ends with a checkpoint that was not planned, and goes on from there."""
    workdir, log = tmp_path / "run", tmp_path / "run.log"
    for _ in range(2):
        has_saved, process = changes(newest, workdir), start(workdir)
        while not has_saved():
            assert process.is_alive(), log.read_text()
            time.sleep(0.001)
        process.terminate()
        assert exit_code(process) == 143
        told = re.findall(r"Stopped after step (\d+); the same command goes on from there.", log.read_text())
        assert newest(workdir) == f"ckpt-{told[-1]}"
        assert not (workdir / ".lock").exists()
    assert "Traceback" not in log.read_text()
