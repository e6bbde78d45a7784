"""A few damaged files for every reader; `make fuzz` tries them for minutes."""

import os
import subprocess
import sys

import pytest

from tests.hostile.readers import READERS

_SECONDS = os.environ.get("FUZZ_SECONDS", "0.3")


@pytest.mark.slow
def test_damaged_files_are_refused_or_right(tmp_path):
    # In a process of its own, which forks before TensorFlow runs.
    command = [sys.executable, "-m", "tests.hostile.fuzz", "--seconds", _SECONDS, "--keep", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]
    tried = dict(line.split(": ") for line in done.stdout.splitlines()[:-1])
    assert tried.keys() == READERS.keys()
    assert all(int(figures.split()[0].replace(",", "")) for figures in tried.values())
