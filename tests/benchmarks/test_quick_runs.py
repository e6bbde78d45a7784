"""Each benchmark runs at toy size, prints its table and writes it; how long anything takes is not tested."""

import csv
import os
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
        ("input_pipeline", {"read", "randaugment", "mix"}),
    ],
)
def test_quick_run(name, candidates, tmp_path):
    command = [sys.executable, "-m", f"benchmarks.{name}", "--quick", "--results", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, env={**os.environ}, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    with (tmp_path / f"{name}.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert candidates <= {row["candidate"] for row in rows}
    for candidate in candidates:
        assert candidate.split(",")[0].split(":")[0] in done.stdout
    medians = [float(value) for row in rows for column, value in row.items() if column.startswith("median")]
    assert medians
    assert min(medians) > 0
