"""Timing of alternatives against each other, and the tables that come of it."""

import concurrent.futures
import csv
import dataclasses
import multiprocessing
import os
import pathlib
import random
import statistics
import threading
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, Generic, TypeVar

import rich.box
import rich.console
import rich.progress
import rich.table

TOY_NEST: dict[str, Any] = {
    "image_size": 16,
    "embedding_dim": 16,
    "num_heads": 2,
    "num_layers_per_block": (1, 1),
    "init_patch_embed_size": 2,
}
"""Fields of a NesT that shows in seconds that a benchmark works."""

# Thread pools of BLAS libraries keep spinning for some 30 ms after their work, at the cost of whoever runs next.
_PAUSE = 0.05
# A round counts as disturbed if other processes took more than this share of the processors.
_DISTURBED = 0.05
# So many times the rounds asked for are tried before disturbed ones are accepted.
_PATIENCE = 3

# What candidates are called: text, or a tuple.
Name = TypeVar("Name", bound=Hashable)


@dataclasses.dataclass
class Rounds(Generic[Name]):
    """Times of interleaved rounds.

    Attributes:
        seconds: of every candidate, one number a round.
        loads: share of the machine's processors that other processes used, one number a round; 0 where the system does
            not say.
    """

    seconds: dict[Name, list[float]]
    loads: list[float]

    @property
    def load(self) -> float:
        """Processors that other processes used, on average."""
        return statistics.mean(self.loads) * (os.cpu_count() or 1)

    def median(self, candidate: Name) -> float:
        """Median time of a candidate in seconds."""
        return statistics.median(self.seconds[candidate])

    def ratio(self, candidate: Name, reference: Name) -> float:
        """Median over the rounds of time over the reference's time in the same round."""
        pairs = zip(self.seconds[candidate], self.seconds[reference], strict=True)
        return statistics.median(ours / theirs for ours, theirs in pairs)


def interleave(
    candidates: Mapping[Name, Callable[[], Any]], runs: int, title: str, *, settled: bool = True
) -> Rounds[Name]:
    """Times callables in turns: whatever slows the machine down meanwhile slows down all of them.

    Two warm-up calls of each come first. Then every round times a call of each, in random order. Rounds that other
    processes disturb are repeated, up to three times as many in all; if there are still not enough quiet ones, all
    rounds count.

    Args:
        candidates: what to time, by name. Each returns when its work is done.
        runs: rounds to keep.
        title: what is being timed, for the progress bar.
        settled: whether a call that is not timed comes right before, so that threads are awake and caches hold weights
            of this candidate, not of the one before it: as in a process that answers one request after the other.
    """
    for call in candidates.values():
        call(), call()
    loads: list[float] = []
    seconds: dict[Name, list[float]] = {name: [] for name in candidates}
    order, shuffle = list(candidates), random.Random(0).shuffle
    with rich.progress.Progress(transient=True) as progress:
        task = progress.add_task(title, total=_PATIENCE * runs)
        while sum(load <= _DISTURBED for load in loads) < runs and len(loads) < _PATIENCE * runs:
            shuffle(order)
            load, times = _round({name: candidates[name] for name in order}, settled)
            loads.append(load)
            for name in candidates:
                seconds[name].append(times[name])
            progress.update(task, completed=max(_PATIENCE * sum(x <= _DISTURBED for x in loads), len(loads)))
    return _without_disturbed(Rounds(seconds, loads), runs)


def _without_disturbed(rounds: Rounds[Name], runs: int) -> Rounds[Name]:
    """The quiet rounds if there are as many as wanted, otherwise all."""
    quiet = [i for i, load in enumerate(rounds.loads) if load <= _DISTURBED]
    if len(quiet) < runs:
        return rounds
    seconds = {name: [times[i] for i in quiet] for name, times in rounds.seconds.items()}
    return Rounds(seconds, [rounds.loads[i] for i in quiet])


def in_own_process(function: Callable[..., Any], *arguments: Any) -> Any:
    """What a function returns in a new process that goes with it, and with its memory and settings."""
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(1, context, initializer=_end_with_parent) as pool:
        return pool.submit(function, *arguments).result()


def _end_with_parent() -> None:
    """Otherwise what is left of a benchmark that was killed computes on, beside the next one."""

    def wait() -> None:
        multiprocessing.parent_process().join()  # type: ignore[union-attr]
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def best_of(call: Callable[[], Any], runs: int) -> float:
    """Shortest time of a call in seconds, after a warm-up."""
    call()
    return min(_timed(call) for _ in range(runs))


def _timed(call: Callable[[], Any], settled: bool = False) -> float:
    time.sleep(_PAUSE)
    if settled:
        call()
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def _round(candidates: Mapping[Name, Callable[[], Any]], settled: bool) -> tuple[float, dict[Name, float]]:
    """Share of the processors that others used, and the time of every candidate."""
    others, begin = _others_seconds(), time.perf_counter()
    seconds = {name: _timed(call, settled) for name, call in candidates.items()}
    available = (time.perf_counter() - begin) * (os.cpu_count() or 1)
    # The system counts in ticks, which can come late: the difference may be negative.
    return max(_others_seconds() - others, 0.0) / available, seconds


def _others_seconds() -> float:
    """Processor time that others than this process and its children have used; 0 where Linux' /proc is missing.

    Children that still run count as others until they end.
    """
    try:
        fields = pathlib.Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]
    except OSError:
        return 0.0
    user, nice, system, _idle, _iowait, irq, softirq, steal = (int(field) for field in fields[:8])
    total = (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")
    own = os.times()
    return total - own.user - own.system - own.children_user - own.children_system


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
