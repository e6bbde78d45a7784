"""train_keras.py as a user calls it, in a process of its own."""

import json
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent
CONFIG = f"--config={ROOT / 'configs' / 'digits_nest.py'}"
TOY = (
    "--config.num_epochs=1",
    "--config.warmup_epochs=0",
    "--config.per_device_batch_size=240",
    "--config.model.embedding_dim=8",
    "--config.model.num_layers_per_block=(1,1,1)",
    "--config.model.init_patch_embed_size=4",
)


def train(*arguments):
    command = [sys.executable, str(ROOT / "train_keras.py"), *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("train") / "run"
    # Fields that the file does not list can be given as well.
    done = train(CONFIG, f"--workdir={workdir}", *TOY, "--config.seed=7", "--config.model.proj_drop=0.1")
    assert done.returncode == 0, done.stderr
    return workdir, done


def test_results(finished):
    workdir, done = finished
    names = {"config.json", "curves.png", "history.csv", "metrics.json", "model.keras"}
    assert {path.name for path in workdir.iterdir()} == names
    config = json.loads((workdir / "config.json").read_text())
    assert config["seed"] == 7
    assert config["model"]["num_layers_per_block"] == [1, 1, 1]
    assert config["model"]["proj_drop"] == 0.1
    metrics = json.loads((workdir / "metrics.json").read_text())
    assert f"{metrics['top1']:.2%}" in done.stdout
    assert f"{metrics['parameters']:,} parameters" in done.stdout


def test_piped_output_is_readable(finished):
    _, done = finished
    assert done.stderr == ""
    assert "\b" not in done.stdout
    assert "\r" not in done.stdout
    assert len([line for line in done.stdout.splitlines() if "accuracy:" in line]) == 1, "one line an epoch"


def test_running_again_ends_with_one_sentence_and_keeps_the_results(finished):
    workdir, _ = finished
    before = {path.name: path.read_bytes() for path in workdir.iterdir()}
    done = train(CONFIG, f"--workdir={workdir}", *TOY, "--config.seed=7", "--config.model.proj_drop=0.1")
    assert done.returncode == 2
    assert done.stderr.strip() == (
        f"error: {workdir} holds a finished run; choose another --workdir, or pass --overwrite to replace it."
    )
    assert {path.name: path.read_bytes() for path in workdir.iterdir()} == before
