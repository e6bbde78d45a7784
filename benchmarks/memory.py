"""Memory that work takes, as Linux tells it of a process that has done nothing else."""

import pathlib
from collections.abc import Callable
from typing import Any


def added_peak(work: Callable[[], Any]) -> float:
    """MiB that a call adds to the resident size of this process at its peak."""
    before = _status("VmRSS")
    _forget_peak()
    work()
    return _status("VmHWM") - before


def steady_peak(prepare: Callable[[], Callable[[], Any]]) -> tuple[Callable[[], Any], float]:
    """Work, and the MiB that it holds and takes at its peak once it is warm: not the peak of building and compiling it.

    Args:
        prepare: makes what works, weights and all; what it returns is called three times.
    """
    before = _status("VmRSS")
    work = prepare()
    work(), work()
    _forget_peak()
    work()
    return work, _status("VmHWM") - before


def _forget_peak() -> None:
    pathlib.Path("/proc/self/clear_refs").write_text("5")


def _status(field: str) -> float:
    """A size in MiB that Linux tells of this process; `getrusage` would tell the peak of its parent."""
    lines = pathlib.Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:")) / 2**10
