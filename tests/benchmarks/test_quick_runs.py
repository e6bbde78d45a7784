"""Each benchmark runs at toy size, prints its table and writes it; how long anything takes is not tested."""

import csv
import importlib
import json
import pathlib
import subprocess
import sys

import pytest

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


def assert_table(name, candidates, folder, shown):
    with (folder / f"{name}.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert candidates <= {row["candidate"] for row in rows}
    for candidate in candidates:
        assert candidate.split(",")[0].split(":")[0] in shown
    medians = [float(value) for row in rows for column, value in row.items() if column.startswith("median")]
    assert medians
    assert min(medians) > 0
