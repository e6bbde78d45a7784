"""A run whose directory is an address: it lives as a local one does, with what goes wrong on the way there."""

import contextlib
import json
import pathlib
import re
import subprocess
import sys
import time
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_nest import console
from keras_nest.buckets import files_below
from keras_nest.cli import commands as cli
from keras_nest.cli.train import main, run
from keras_nest.copies import local_file
from keras_nest.mirror import mirrored
from keras_nest.opening import open_model
from keras_nest.places import as_place
from keras_nest.training import lease
from keras_nest.training.stopping import Stopped
from tests.buckets_in_memory import listing_late
from tests.data import photographs
from tests.training import runs
from tests.training.test_resume import MOMENTS, BrokenOffError, broken_off

ROOT = pathlib.Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def quickly(monkeypatch):
    for name, seconds in (("BEAT", 0.05), ("SILENCE", 0.4), ("SETTLE", 0.05)):
        monkeypatch.setattr(lease, name, seconds)


@contextlib.contextmanager
def failing_at(number):
    """The bucket refuses one of the files that go there."""
    rename, calls = tf.io.gfile.rename, 0

    def unreliable(source, target, overwrite):
        nonlocal calls
        # What shows that the owner is there may fail once.
        calls += not target.endswith(lease.FILE)
        if calls == number:
            calls += 1
            raise tf.errors.UnavailableError(None, None, "503")
        rename(source, target, overwrite)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tf.io.gfile, "rename", unreliable)
        yield


def used(run, output, images, capsys):
    """What the commands make of a run: what they print, and the files that they write, by name.

    Where the run and the files lie is taken out; a .keras file is its weights, as it holds the time, too.
    """
    for words in (
        ("evaluate", run, "--json", *(f"--save={output}/{name}" for name in ("a.json", "a.csv", "a.png"))),
        ("predict", images, "--model", run, "--json", "--save", f"{output}/predict"),
        ("explain", images, "--model", run, "--json", "--save", f"{output}/explain"),
        ("export", run, "--format", "keras", "--output", f"{output}/stock.keras"),
        ("export", run, "--format", "tflite", "--precision", "float32", "--output", f"{output}/lite"),
        ("convert", run, f"{output}/a.weights.h5"),
        ("convert", "--to-flax", run, f"{output}/a.npz"),
    ):
        with console.console.capture() if words[0] in ("export", "convert") else contextlib.nullcontext():
            assert cli.main(list(map(str, words))) == 0
    files: dict[str, Any] = {name: as_place(f"{output}/{name}").read_bytes() for name in files_below(str(output))}
    del files["lite/float32.json"]  # it tells times
    with local_file(f"{output}/stock.keras", "model") as file:
        files["stock.keras"] = [weight.tobytes() for weight in keras.saving.load_model(file).get_weights()]
    files["a.json"] = files["a.json"].replace(str(run).encode(), b"RUN")
    return capsys.readouterr().out.replace(str(run), "RUN"), files


@pytest.mark.slow
def test_a_whole_life(finished, tmp_path, monkeypatch, capsys):
    """Broken off at all moments that a local one is, gone on with, and used by all commands: bit for bit as here."""
    bucket = "ram://whole-life/run"
    for owner, name, when, before, _ in MOMENTS.values():
        with broken_off(owner, name, when, before), pytest.raises(BrokenOffError):
            main(runs.CONFIG, bucket)
    assert main(runs.CONFIG, bucket)["steps"] == 44
    assert main(runs.CONFIG, bucket)["steps"] == 44, "it is finished"
    with mirrored(bucket) as directory:
        runs.assert_same_results(directory, finished[0])
    monkeypatch.setenv("KERAS_NEST_CACHE", str(tmp_path))
    there, here = open_model(bucket), open_model(finished[0])
    assert (there.class_names, there.config) == (here.class_names, here.config)
    assert all(map(np.array_equal, there.model.get_weights(), here.model.get_weights()))
    (tmp_path / "images").mkdir()
    photographs.small("rocket", (20, 16)).save(tmp_path / "images/rocket.png")
    capsys.readouterr()
    outputs = ((finished[0], tmp_path / "here"), (bucket, "ram://whole-life/there"))
    (told, files), (told_there, files_there) = (used(*each, tmp_path / "images", capsys) for each in outputs)
    assert told_there == told
    assert files_there == files
    assert files.keys() >= {
        "a.csv",
        "a.png",
        "predict/rocket.png",
        "explain/rocket.png",
        "lite/float32.tflite",
        "a.npz",
    }


@pytest.mark.slow
def test_a_bucket_that_refuses_files(finished):
    bucket = "ram://refuses/run"
    for number in (3, 9, 5):
        with failing_at(number), pytest.raises(OSError, match=f"{bucket} cannot be written to: 503."):
            main(runs.CONFIG, bucket)
    main(runs.CONFIG, bucket)
    with mirrored(bucket) as directory:
        runs.assert_same_results(directory, finished[0])


@pytest.mark.slow
def test_a_slow_bucket_that_lists_late_and_a_clock_that_goes_back(finished, monkeypatch):
    """A signal comes while a checkpoint is on its way; the next start does not see the newest one."""
    bucket, now = "ram://slow/run", iter(range(10**9, 0, -1))
    monkeypatch.setattr(time, "time", lambda: float(next(now)))
    on_its_way = tf.io.gfile, "copy", lambda source, target, **_: target.endswith("ckpt-16.index")
    with runs.signaled(*on_its_way), pytest.raises(Stopped, match="after step 17"):
        main(runs.CONFIG, bucket)
    with mirrored(bucket) as directory:
        assert {path.stem for path in directory.glob("checkpoints/*.index")} == {"ckpt-16", "ckpt-17"}
    with listing_late(lambda name: "-17." in name):
        main(runs.CONFIG, bucket)
    with mirrored(bucket) as directory:
        runs.assert_same_results(directory, finished[0])


def test_what_cannot_be_an_address_is_refused_before_any_work(capsys):
    flags = [f"--config={ROOT}/configs/digits_nest.py", "--workdir=s3://b/run"]
    with pytest.raises(SystemExit, match="2"):
        run(["train_keras.py", *flags])
    assert re.fullmatch(r"error: s3://b/run: TensorFlow has no file system for s3://.*\n", capsys.readouterr().err)


@pytest.mark.slow
def test_another_process_finds_it(tmp_path, capsys):
    """From another directory; what is told names the address, and no directory that stands for it."""
    place = f"file://{tmp_path}/bucket/run"
    command = ["train_keras.py", runs.write_config(tmp_path / "config.py", {**runs.CONFIG, "num_epochs": 1})]
    command.append(f"--workdir={place}")
    run(command)
    told = capsys.readouterr().out
    assert f"Results in {place}" in told
    done = subprocess.run(
        [sys.executable, ROOT / command[0], *command[1:]], capture_output=True, text=True, cwd=tmp_path
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert f"{place} holds this run, finished; --overwrite starts it anew." in done.stdout
    assert "keras-nest-" not in told + done.stdout
    assert runs.files(tmp_path / "bucket" / "run") == runs.FILES
    assert json.loads((tmp_path / "bucket" / "run" / "metrics.json").read_text())["steps"] == 22
