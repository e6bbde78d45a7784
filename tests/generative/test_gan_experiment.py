"""A generator is trained through the door of all trainings; what is broken off goes on as if nothing had happened."""

import json
import pathlib
import shutil
import subprocess
import sys
import time

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_nest import NesTGenerator
from keras_nest.cli.train import main, prepare, run
from keras_nest.generative.samples import grid
from keras_nest.training.checkpoints import Checkpoints
from keras_nest.training.history import read_history
from keras_nest.training.lock import InUseError, locked
from keras_nest.training.stopping import Stopped
from tests.training import runs

ROOT = pathlib.Path(__file__).resolve().parents[2]
CONFIG = {
    "trainer": "gan",
    "model": {
        "image_size": 16,
        "latent_dim": 4,
        "embedding_dims": (8, 8),
        "num_heads": (2, 2),
        "num_layers_per_block": (1, 1),
        "patch_size": 2,
    },
    "discriminator": {"widths": (4, 6), "stem_stride": 2},
    "dataset": "digits",
    "total_steps": 7,
    "batch": 20,
    "r1_every": 2,
    "max_shift": 1,
    "progress_every": 2,
    "sample_every": 3,
    "checkpoint_every": 2,
    "ema_decay": 0.5,
    "seed": 3,
}
TIMING = ("seconds", "images_per_second", "train_seconds")


def without_timing(numbers):
    return {name: value for name, value in numbers.items() if name not in TIMING}


def assert_same_weights(workdir, other):
    one, two = (keras.models.load_model(path / "generator.keras") for path in (workdir, other))
    for ours, theirs in zip(one.weights, two.weights, strict=True):
        np.testing.assert_array_equal(ours, theirs, err_msg=ours.path)


def assert_same_results(workdir, other):
    assert_same_weights(workdir, other)
    rows = [[without_timing(row) for row in read_history(path / "history.csv")] for path in (workdir, other)]
    assert rows[0] == rows[1]
    metrics = [without_timing(json.loads((path / "metrics.json").read_text())) for path in (workdir, other)]
    assert metrics[0] == metrics[1]
    for picture in ("samples.png", *(f"samples/step_{step:06d}.png" for step in (3, 6, 7))):
        assert (workdir / picture).read_bytes() == (other / picture).read_bytes()
    files = [sorted(path.name for path in place.iterdir()) for place in (workdir, other)]
    assert files[0] == files[1]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Directory and metrics of a run that nothing disturbed; no test may change it."""
    workdir = tmp_path_factory.mktemp("gan") / "finished"
    return workdir, main(CONFIG, workdir)


@pytest.mark.slow
def test_what_a_run_leaves(finished):
    workdir, metrics = finished
    names = {path.name for path in workdir.iterdir()}
    assert names == {
        "checkpoints",
        "classes.txt",
        "config.json",
        "generator.keras",
        "history.csv",
        "metrics.json",
        "samples",
        "samples.png",
        "tensorboard",
    }
    assert json.loads((workdir / "metrics.json").read_text()) == metrics
    assert (metrics["steps"], metrics["seed"]) == (7, 3)
    assert [row["step"] for row in read_history(workdir / "history.csv")] == [2, 3, 4, 6, 7]
    picture = tf.io.decode_png((workdir / "samples.png").read_bytes())
    assert picture.shape == (16 + 10 * 66 - 2, 10 * 66 - 2, 3), "names of the classes above it"
    generator = keras.models.load_model(workdir / "generator.keras")
    assert type(generator) is NesTGenerator
    columns = grid(generator.sample(100, class_index=[0, 1, 2, 3, 4, 5, 6, 7, 8, 9] * 10), 10)
    np.testing.assert_allclose(columns.astype(int), picture.numpy()[16:].astype(int), atol=1)


@pytest.mark.slow
def test_the_penalty_comes_at_intervals(finished):
    """In every second step from the first; the row of step 4 is about that step alone."""
    rows = read_history(finished[0] / "history.csv")
    assert [row["r1_penalty"] > 0 for row in rows] == [True, True, False, True, True]


def test_tensorboard_has_losses_and_pictures(finished):
    tags = set()
    for path in (finished[0] / "tensorboard").iterdir():
        for record in tf.compat.v1.io.tf_record_iterator(str(path)):
            tags |= {value.tag for value in tf.compat.v1.Event.FromString(record).summary.value}
    assert {"train/generator_loss", "train/discriminator_loss", "train/r1_penalty", "samples"} <= tags


@pytest.mark.slow
def test_an_interrupted_run_goes_on(finished, tmp_path, monkeypatch):
    """After a row and a picture of step 6 were written, before its checkpoint was: both are written anew."""
    save = Checkpoints.save

    def interrupt(self, number, row):
        if number == 6:
            raise KeyboardInterrupt
        save(self, number, row)

    workdir = tmp_path / "run"
    monkeypatch.setattr(Checkpoints, "save", interrupt)
    with pytest.raises(KeyboardInterrupt):
        main(CONFIG, workdir)
    monkeypatch.undo()
    assert main(CONFIG, workdir)["steps"] == 7
    assert_same_results(workdir, finished[0])


@pytest.mark.slow
def test_a_run_that_is_asked_to_end_goes_on(finished, tmp_path):
    """Inside rows; at the end of one, where a picture is due; and after the last step of all."""
    workdir = tmp_path / "run"
    for step in (1, 5, 6, 7):
        with runs.signaled(*runs.in_step(step)), pytest.raises(Stopped, match=f"after step {step}"):
            main(CONFIG, workdir)
    assert main(CONFIG, workdir)["steps"] == 7
    assert_same_weights(workdir, finished[0])
    runs.assert_same_rows_but_for_rounding(workdir, finished[0])
    assert {path.name for path in (workdir / "samples").iterdir()} == {
        path.name for path in (finished[0] / "samples").iterdir()
    }


def test_a_finished_run_is_not_repeated(finished):
    workdir, metrics = finished
    before = (workdir / "generator.keras").stat().st_mtime_ns
    assert main(CONFIG, workdir) == metrics
    assert (workdir / "generator.keras").stat().st_mtime_ns == before


def test_lost_checkpoints_are_told_and_nothing_is_begun_again(finished, tmp_path):
    workdir = shutil.copytree(finished[0], tmp_path / "run")
    shutil.rmtree(workdir / "checkpoints")
    (workdir / "metrics.json").unlink()
    before = (workdir / "history.csv").read_bytes()
    with pytest.raises(
        FileNotFoundError, match=r"got beyond the checkpoint of step 7, but there is none in .*checkpoints"
    ):
        main(CONFIG, workdir)
    (workdir / "generator.keras").unlink()
    with pytest.raises(
        FileNotFoundError, match=r"got beyond the checkpoint of step 6, but there is none in .*checkpoints"
    ):
        main(CONFIG, workdir)
    assert (workdir / "history.csv").read_bytes() == before


def test_a_directory_in_use_is_refused(finished, tmp_path):
    workdir = shutil.copytree(finished[0], tmp_path / "run")
    with locked(workdir), pytest.raises(InUseError, match="is in use"):
        main(CONFIG, workdir, overwrite=True)
    assert (workdir / "generator.keras").exists()


def test_a_directory_without_its_configuration_is_refused(finished, tmp_path):
    shutil.copy(finished[0] / "generator.keras", tmp_path)
    with pytest.raises(FileExistsError, match=r"holds generator.keras already, without config.json; choose another"):
        main(CONFIG, tmp_path)


def test_another_task_that_overwrites_it_leaves_nothing_of_it(finished, tmp_path):
    workdir = shutil.copytree(finished[0], tmp_path / "run")
    (workdir / "notes.txt").touch()
    speed = {"trainer": "inference_time", "model_name": "ViT-Ti_16", "model": {"num_layers": 1}}
    prepare({**speed, "batch": 1, "num_classes": 2, "image_size": 16}, workdir, overwrite=True)
    assert {path.name for path in workdir.iterdir()} == {"config.json", "notes.txt"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"total_step": 7}, "unknown field 'total_step'; did you mean total_steps"),
        ({"total_steps": None}, "does not say total_steps"),
        ({"dataset": None}, "does not say dataset"),
        ({"batch": 0}, "batch is 0; it must be a positive whole number"),
        ({"model_name": "nest_generator"}, "There is no generator 'nest_generator'"),
        ({"model": {"latents": 3}}, "NesTGenerator has no field 'latents'"),
        ({"discriminator": {"width": 3}}, "Discriminator has no field 'width'; did you mean widths"),
        ({"ema_decay": 1}, "ema_decay is 1; it must be at least 0 and below 1"),
    ],
)
def test_bad_configurations(change, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        main({**CONFIG, **change}, tmp_path)
    assert not (tmp_path / "config.json").exists()


def test_several_devices_are_refused(tmp_path):
    with pytest.raises(ValueError, match="trained on one device; choose --strategy=one_device"):
        main(CONFIG, tmp_path, strategy="mirrored")


@pytest.mark.slow
def test_the_directory_of_another_run_is_not_touched(finished):
    with pytest.raises(FileExistsError, match="seed is 3 there and 4 here"):
        main({**CONFIG, "seed": 4}, finished[0])


@pytest.mark.slow
def test_the_configuration_of_the_project_on_the_command_line(tmp_path, capsys):
    flag = f"--config={ROOT / 'configs/digits_gan.py'}"
    few = ["--config.total_steps=1", "--config.batch=2", "--config.seed=1"]
    run(["train_keras.py", flag, f"--workdir={tmp_path / 'run'}", *few])
    told = capsys.readouterr().out
    assert "against a discriminator" in told
    assert "generator_loss" in told
    generator = keras.models.load_model(tmp_path / "run" / "generator.keras")
    assert generator.output_shape == (None, 32, 32, 3)
    assert generator.num_classes == 10


@pytest.mark.slow
def test_a_killed_run_goes_on(finished, tmp_path):
    workdir = tmp_path / "run"
    command = [sys.executable, str(ROOT / "train_keras.py"), runs.write_config(tmp_path / "config.py", CONFIG)]
    command.append(f"--workdir={workdir}")
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL)
    while tf.train.latest_checkpoint(str(workdir / "checkpoints")) is None:
        assert process.poll() is None, "it ended before it was killed"
        time.sleep(0.001)
    process.kill()
    assert process.wait() == -9
    assert not (workdir / "metrics.json").exists()
    main(CONFIG, workdir)
    assert_same_results(workdir, finished[0])


def test_grid():
    images = np.stack([np.full((2, 2, 1), value, np.float32) for value in (-1, 0, 1)])
    picture = grid(images, columns=2, gap=1)
    assert picture.shape == (129, 129, 1)
    assert {picture[0, 0, 0], picture[0, 65, 0], picture[65, 0, 0]} == {0, 128, 255}
    assert (picture[64] == 255).all()
    assert (picture[65:, 65:] == 255).all(), "nothing is there"
