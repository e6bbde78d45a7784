"""`fit` under the real TPUStrategy, with CPU devices in the place of TPUs: everything is traced, nothing can run."""

import pathlib
import subprocess
import sys

import pytest

pytestmark = pytest.mark.tpu
ROOT = pathlib.Path(__file__).resolve().parents[2]


def test_fit_is_traced_for_two_cores():
    script = pathlib.Path(__file__).with_name("stand_in.py")
    done = subprocess.run([sys.executable, str(script)], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    facts = dict(line.split("=") for line in done.stdout.split())
    assert facts["replicas"] == "2"
    assert facts["variables"] == "TPUDistributedVariable"
    # One sum over the cores for each parameter, and no second one in the optimizer.
    assert facts["sums"] == facts["parameters"]
    # The program stops where it needs a TPU, and not before.
    assert facts["stopped_at"] == "TPUReplicatedInput"
