"""Timing of alternatives against each other, and the tables that come of it."""

import csv
import dataclasses
import os
import pathlib
import random
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import rich.box
import rich.console
import rich.progress
import rich.table

# Thread pools of BLAS libraries keep spinning for some 30 ms after their work, at the cost of whoever runs next.
_PAUSE = 0.05
# A round counts as disturbed if other processes took more than this share of the processors.
_DISTURBED = 0.05
# So many times the rounds asked for are tried before disturbed ones are accepted.
_PATIENCE = 3


@dataclasses.dataclass
class Rounds:
    """Times of interleaved rounds.

    Attributes:
        seconds: of every candidate, one number a round.
        load: processors that other processes used meanwhile, on average; 0 where the system does not say.
    """

    seconds: dict[str, list[float]]
    load: float

    def median(self, candidate: str) -> float:
        """Median time of a candidate in seconds."""
        return statistics.median(self.seconds[candidate])

    def ratio(self, candidate: str, reference: str) -> float:
        """Median over the rounds of time over the reference's time in the same round."""
        pairs = zip(self.seconds[candidate], self.seconds[reference], strict=True)
        return statistics.median(ours / theirs for ours, theirs in pairs)


def interleave(candidates: Mapping[str, Callable[[], Any]], runs: int, title: str) -> Rounds:
    """Times callables in turns: whatever slows the machine down meanwhile slows down all of them.

    Two warm-up calls of each come first. Then every round calls each once, in random order. Rounds that other
    processes disturb are repeated, up to three times as many in all; if there are still not enough quiet ones, all
    rounds count.

    Args:
        candidates: what to time, by name. Each returns when its work is done.
        runs: rounds to keep.
        title: what is being timed, for the progress bar.
    """
    for call in candidates.values():
        call(), call()
    rounds: list[tuple[float, dict[str, float]]] = []
    order, shuffle = list(candidates), random.Random(0).shuffle
    with rich.progress.Progress(transient=True) as progress:
        task = progress.add_task(title, total=runs)
        while sum(load <= _DISTURBED for load, _ in rounds) < runs and len(rounds) < _PATIENCE * runs:
            shuffle(order)
            rounds.append(_round({name: candidates[name] for name in order}))
            progress.update(task, completed=max(sum(load <= _DISTURBED for load, _ in rounds), len(rounds) / _PATIENCE))
    quiet = [entry for entry in rounds if entry[0] <= _DISTURBED]
    kept = quiet if len(quiet) >= runs else rounds
    load = statistics.mean(load for load, _ in kept) * (os.cpu_count() or 1)
    return Rounds({name: [seconds[name] for _, seconds in kept] for name in candidates}, load)


def _round(candidates: Mapping[str, Callable[[], Any]]) -> tuple[float, dict[str, float]]:
    """Share of the processors that others used, and the time of every candidate."""
    others, begin = _others_seconds(), time.perf_counter()
    seconds = {}
    for name, call in candidates.items():
        time.sleep(_PAUSE)
        start = time.perf_counter()
        call()
        seconds[name] = time.perf_counter() - start
    available = (time.perf_counter() - begin) * (os.cpu_count() or 1)
    return (_others_seconds() - others) / available, seconds


def _others_seconds() -> float:
    """Processor time that other processes have used since the system started; 0 where Linux' /proc is missing."""
    try:
        fields = pathlib.Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]
    except OSError:
        return 0.0
    user, nice, system, _idle, _iowait, irq, softirq, steal = (int(field) for field in fields[:8])
    total = (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")
    own = os.times()
    return total - own.user - own.system


def report(title: str, rows: Sequence[Mapping[str, Any]], path: pathlib.Path, note: str = "") -> None:
    """Prints rows as a table and writes them as CSV.

    Args:
        title: heading of the table.
        rows: dictionaries with the same keys, which become the columns; None leaves a cell empty.
        path: CSV file to write; its directory is created.
        note: printed below the table.
    """
    table = rich.table.Table(title=title, caption=note, box=rich.box.SIMPLE, caption_justify="left")
    for name in rows[0]:
        table.add_column(name, justify="right" if _is_number(rows[0][name]) else "left")
    for row in rows:
        table.add_row(*(_cell(value) for value in row.values()))
    # A file or pipe has no width of its own, and a cut table is of no use in a log.
    rich.console.Console(width=None if os.isatty(1) else 120).print(table)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    print(f"Written to {path}.")


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)
