"""train_keras.py as a user calls it, in a process of its own."""

import json
import pathlib
import subprocess
import sys

import pytest

from tests.training import runs

ROOT = pathlib.Path(__file__).resolve().parent.parent
CONFIG = f"--config={ROOT / 'configs' / 'digits_nest.py'}"
TOY = (
    "--config.num_epochs=2",
    "--config.warmup_epochs=0",
    "--config.per_device_batch_size=240",
    "--config.model.embedding_dim=8",
    "--config.model.image_size=16",
    "--config.model.num_layers_per_block=(1,1)",
    "--config.model.init_patch_embed_size=4",
)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("train") / "run"
    # Fields that the file does not list can be given as well.
    change = (*TOY, "--config.seed=7", "--config.model.proj_drop=0.1")
    command = [sys.executable, str(ROOT / "train_keras.py"), CONFIG, f"--workdir={workdir}", *change]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return workdir, done


@pytest.mark.slow
def test_results(finished):
    workdir, done = finished
    assert runs.files(workdir) == runs.FILES
    config = json.loads((workdir / "config.json").read_text())
    assert config["seed"] == 7
    assert config["model"]["num_layers_per_block"] == [1, 1]
    assert config["model"]["proj_drop"] == 0.1
    metrics = json.loads((workdir / "metrics.json").read_text())
    assert f"{metrics['top1']:.2%}" in done.stdout
    assert f"{metrics['parameters']:,} parameters" in done.stdout


@pytest.mark.slow
def test_piped_output_is_readable(finished):
    _, done = finished
    assert done.stderr == ""
    assert all(character.isprintable() or character == "\n" for character in done.stdout)
    rows = [line for line in done.stdout.splitlines() if line.startswith("step ")]
    assert [row.split("  epoch")[0] for row in rows] == ["step 5 of 10", "step 10 of 10"]
