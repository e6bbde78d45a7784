"""A training that is broken off again and again ends as one that is not."""

import contextlib
import json
import shutil

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_nest.cli.train import main
from keras_nest.models import NesT
from keras_nest.training import callbacks, checkpoints, workdir
from keras_nest.training.history import read_history
from keras_nest.training.stopping import Stopped
from tests.training import runs


class BrokenOffError(OSError):
    """As if the machine had gone, or the disk were full."""


@contextlib.contextmanager
def broken_off(owner, name, when, before=lambda *arguments: None):
    """Breaks off where a function is called and `when(*arguments)` holds, after doing something else instead."""
    original = getattr(owner, name)

    def function(*arguments, **options):
        if when(*arguments):
            before(*arguments)
            raise BrokenOffError
        return original(*arguments, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(owner, name, function)
        yield


def write_half(checkpoints, step, row):
    """A checkpoint as it lies there before it is complete."""
    data = checkpoints._directory / f"ckpt-{step}.data-00000-of-00001"
    checkpoints._checkpoint.write(str(checkpoints._directory / f"ckpt-{step}"))
    data.write_bytes(data.read_bytes()[:-100])


def at_step(wanted):
    return lambda loop, *_: loop._step == wanted - 1


def is_save_of(wanted):
    return lambda checkpoints, step, row: step == wanted


def is_of_metrics(path, content):
    return path.name == "metrics.json"


def always(*_):
    return True


# Where it is broken off, and the newest checkpoint then.
MOMENTS = {
    "between a row and its checkpoint": (checkpoints.Checkpoints, "save", is_save_of(8), always, None),
    "while a checkpoint is written": (checkpoints.Checkpoints, "save", is_save_of(16), write_half, 8),
    "after a step": (callbacks.Loop, "on_train_batch_end", at_step(27), always, 24),
    "before the model is written": (NesT, "save", always, always, 44),
    "before the metrics are written": (workdir, "write_json", is_of_metrics, always, 44),
}


@pytest.mark.slow
def test_any_moment(finished, tmp_path):
    workdir = tmp_path / "run"
    for seed, (moment, (owner, name, when, before, newest)) in enumerate(MOMENTS.items()):
        keras.utils.set_random_seed(seed)
        with broken_off(owner, name, when, before), pytest.raises(BrokenOffError):
            main(runs.CONFIG, workdir)
        found = tf.train.latest_checkpoint(str(workdir / "checkpoints"))
        assert found == (newest and str(workdir / "checkpoints" / f"ckpt-{newest}")), moment
        assert not (workdir / "metrics.json").exists()
        # A directory that was moved meanwhile is the same.
        workdir = shutil.move(workdir, tmp_path / f"moved_{seed}")
    metrics = main(runs.CONFIG, workdir)
    assert json.loads((workdir / "metrics.json").read_text()) == metrics
    runs.assert_same_results(workdir, finished[0])


def test_the_states_that_matter_are_really_there(finished):
    """A test that compares nothing would pass."""
    workdir, _ = finished
    names = [name for name, _ in tf.train.list_variables(str(workdir / "checkpoints" / "ckpt-44"))]
    model = keras.models.load_model(workdir / "model.keras")
    seeds = [variable for variable in model.variables if "seed_generator_state" in variable.path]
    assert seeds
    # Weights and seeds; and for each weight two moments and the average, and the number of steps.
    weights = len(model.weights)
    assert len([name for name in names if name.startswith("model/")]) == weights + len(seeds)
    assert len([name for name in names if name.startswith("optimizer/")]) >= 3 * weights + 1


@pytest.mark.slow
def test_on_two_replicas(tmp_path):
    config = {**runs.CONFIG, "per_device_batch_size": 32, "num_epochs": 1, "accum_steps": 1}
    main(config, tmp_path / "undisturbed", strategy="mirrored")
    with broken_off(callbacks.Loop, "on_train_batch_end", at_step(13)), pytest.raises(BrokenOffError):
        main(config, tmp_path / "run", strategy="mirrored")
    metrics = main(config, tmp_path / "run", strategy="mirrored")
    assert metrics["steps"] == 22
    runs.assert_same_results(tmp_path / "run", tmp_path / "undisturbed")


@pytest.mark.slow
def test_several_steps_at_once(finished, tmp_path):
    """A signal comes in the steps from 11 to 16, which are finished first; how many go at once may change."""
    with runs.signaled(*runs.in_step(11)), pytest.raises(Stopped, match="after step 16"):
        main({**runs.CONFIG, "steps_per_execution": 7}, tmp_path / "run")
    main({**runs.CONFIG, "steps_per_execution": 30}, tmp_path / "run")
    runs.assert_same_weights(tmp_path / "run", finished[0])
    runs.assert_same_rows_but_for_rounding(tmp_path / "run", finished[0])


@pytest.mark.slow
def test_on_another_number_of_devices(tmp_path, capsys):
    """Two, one, two: the same whole batches, learning rates and order of images."""
    model = {**runs.CONFIG["model"], "stochastic_depth_drop": 0.0}
    config = {**runs.CONFIG, "model": model, "per_device_batch_size": 32, "num_epochs": 1, "accum_steps": 1}
    main(config, tmp_path / "undisturbed", strategy="mirrored")
    for step, strategy in ((9, "mirrored"), (17, "one_device")):
        with runs.signaled(*runs.in_step(step)), pytest.raises(Stopped):
            main(config, tmp_path / "run", strategy=strategy)
    told = "its batches of 64 images stay, of which each of 1 takes 64 in 2 parts."
    assert told in capsys.readouterr().out
    assert main(config, tmp_path / "run", strategy="mirrored")["steps"] == 22
    one, two = (keras.models.load_model(tmp_path / name / "model.keras") for name in ("run", "undisturbed"))
    for ours, expected in zip(one.weights, two.weights, strict=True):
        np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-5, err_msg=ours.path)
    rows, others = (read_history(tmp_path / name / "history.csv") for name in ("run", "undisturbed"))
    for row, other in zip(rows, others, strict=True):
        assert runs.without_timing(row) == pytest.approx(runs.without_timing(other), rel=1e-5, abs=1e-5)
