"""Each benchmark runs at toy size, prints its table and writes it; how long anything takes is not tested."""

import csv
import importlib
import json
import pathlib
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from benchmarks import finetune

ROOT = pathlib.Path(__file__).parents[2]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "candidates"),
    [
        ("forward", {"Keras, graph", "Keras, XLA", "Flax, jax.jit"}),
        ("conversion", {"NumPy reads the bytes", "conversion: read, assign, save"}),
    ],
)
def test_quick_run(name, candidates, tmp_path, capsys):
    importlib.import_module(f"benchmarks.{name}").main(["--quick", "--results", str(tmp_path)])
    assert_table(name, candidates, tmp_path, capsys.readouterr().out)


@pytest.mark.slow
def test_quick_run_of_the_input_pipeline(tmp_path):
    """In a process of its own, as it sets the number of threads."""
    command = [sys.executable, "-m", "benchmarks.input_pipeline", "--quick", "--results", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert_table("input_pipeline", {"read", "randaugment", "mix"}, tmp_path, done.stdout)


@pytest.mark.slow
def test_memory_of_a_fold():
    """In a process of its own, which forgets all models."""
    command = [sys.executable, "-m", "benchmarks.cross_validation", "--of", "ViT", "--folds", "4"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["parameters"] > 100_000
    assert found.keys() == {"parameters", "variables", "growth"}


@pytest.mark.slow
def test_quick_run_of_fine_tuning(tmp_path, capsys):
    finetune.main(["--quick", "--results", str(tmp_path)])
    assert "crops of each of six photographs" in capsys.readouterr().out
    with (tmp_path / "finetune.csv").open(newline="") as file:
        rows = {row["candidate"]: row for row in csv.DictReader(file)}
    assert list(rows) == [finetune.PRETRAINED, finetune.SCRATCH]
    for row in rows.values():
        assert row["test images"] == "30"
        assert 0 <= float(row["lowest"]) == float(row["mean accuracy %"]) == float(row["highest"]) <= 100
        assert int(row["median steps"]) > 0


def test_crops_of_two_parts_share_no_pixel(tmp_path):
    """Each cell of the photograph has a color of its own."""
    colors = np.arange(finetune.CELLS**2, dtype=np.uint8).reshape(finetune.CELLS, -1) * 16
    photograph = Image.fromarray(np.kron(colors, np.ones((50, 60), np.uint8))).convert("RGB")
    finetune.write(tmp_path, {"one": photograph}, finetune.PARTS, 3, seed=0)
    found = {}
    for part, count in finetune.PARTS.items():
        crops = [np.unique(Image.open(file)).tolist() for file in (tmp_path / part / "one").iterdir()]
        assert [len(crop) for crop in crops] == [1] * 3 * count
        found[part] = {color for (color,) in crops}
    assert {part: len(found[part]) for part in found} == finetune.PARTS
    assert len(set().union(*found.values())) == finetune.CELLS**2


def assert_table(name, candidates, folder, shown):
    with (folder / f"{name}.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert candidates <= {row["candidate"] for row in rows}
    for candidate in candidates:
        assert candidate.split(",")[0].split(":")[0] in shown
    medians = [float(value) for row in rows for column, value in row.items() if column.startswith("median")]
    assert medians
    assert min(medians) > 0
