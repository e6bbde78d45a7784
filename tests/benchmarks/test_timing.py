"""Interleaved timing: rounds, disturbed rounds, ratios and the table."""

import contextlib
import subprocess
import sys
import textwrap
import time

import psutil
import pytest

from benchmarks import timing


@pytest.fixture
def loads(monkeypatch):
    """Sets how busy the machine was in each round."""

    def play(*values):
        shares = iter(values)
        real = timing._round
        monkeypatch.setattr(timing, "_round", lambda *given: (next(shares), real(*given)[1]))

    monkeypatch.setattr(timing, "_PAUSE", 0)
    return play


@pytest.mark.parametrize(("settled", "times"), [(False, 1), (True, 2)])
def test_rounds_call_every_candidate_after_a_warm_up(loads, settled, times):
    loads(0, 0, 0)
    calls = []
    candidates = {name: lambda name=name: calls.append(name) for name in "ab"}
    rounds = timing.interleave(candidates, 3, "test", settled=settled)
    assert calls[:4] == ["a", "a", "b", "b"]
    assert [calls[4:].count(name) for name in "ab"] == [3 * times] * 2
    assert calls[4::times] == calls[3 + times :: times]  # the call before the one that is timed is of the same
    assert [len(seconds) for seconds in rounds.seconds.values()] == [3, 3]
    assert rounds.load == 0


def test_disturbed_rounds_are_repeated(loads):
    loads(0.5, 0, 0.3, 0)
    rounds = timing.interleave({"a": lambda: None}, 2, "test")
    assert rounds.loads == [0, 0]
    assert len(rounds.seconds["a"]) == 2


def test_on_a_busy_machine_all_rounds_count(loads):
    loads(*[0.5] * 6)
    rounds = timing.interleave({"a": lambda: None}, 2, "test")
    assert rounds.loads == [0.5] * 6


def test_ratios_are_taken_round_by_round():
    rounds = timing.Rounds({"a": [1.0, 20.0, 3.0], "b": [2.0, 10.0, 6.0]}, [0.0] * 3)
    assert rounds.ratio("a", "b") == 0.5
    assert rounds.median("a") == 3


def test_report_writes_what_it_shows(tmp_path, capsys):
    path = tmp_path / "new" / "table.csv"
    timing.report("Title", [{"name": "one", "value": 1.23456}, {"name": "two", "value": None}], path, "a note")
    shown = capsys.readouterr().out
    assert all(text in shown for text in ("Title", "one", "1.235", "a note", str(path)))
    assert path.read_text().splitlines() == ["name,value", "one,1.23456", "two,"]


def test_nothing_of_a_killed_benchmark_computes_on(tmp_path):
    """It would be measured with the next one."""
    script = tmp_path / "script.py"
    script.write_text(
        textwrap.dedent("""
        import os, time
        from benchmarks import timing

        def compute():
            print(os.getpid(), flush=True)
            time.sleep(60)

        if __name__ == "__main__":
            timing.in_own_process(compute)
        """)
    )
    environment = {"PYTHONPATH": ":".join(path for path in sys.path if path)}
    with subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True, env=environment) as parent:
        child = psutil.Process(int(parent.stdout.readline()))
        parent.kill()
    end = time.monotonic() + 20
    with contextlib.suppress(psutil.NoSuchProcess):
        # Whose parent is gone may stay a zombie for long.
        while child.status() != psutil.STATUS_ZOMBIE:
            assert time.monotonic() < end
            time.sleep(0.05)
