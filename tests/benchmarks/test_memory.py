"""Memory of a process of its own, since others in this one would hide it."""

import subprocess
import sys

CODE = """
import numpy as np
from benchmarks import memory

def work():
    return np.ones(5_000_000).sum()  # 40 MB, for a moment

def prepare():
    held = np.ones(10_000_000)  # 80 MB, for good
    np.ones(30_000_000)         # 240 MB, to make it
    return lambda: (held[0], work())

print(memory.added_peak(work), memory.steady_peak(prepare)[1])
"""


def test_what_is_held_and_what_a_call_takes():
    told = subprocess.run([sys.executable, "-c", CODE], check=True, capture_output=True, text=True).stdout
    added, steady = map(float, told.split())
    assert 37 <= added <= 60
    assert 113 <= steady <= 150
