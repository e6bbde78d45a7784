"""Damaged files for every reader: each is read, and then right, or refused in a sentence.

    python -m tests.hostile.fuzz [READER …] --seconds 300

Each file is read in a process that may be killed, crash or hang. What is found is kept in --keep. Prints a line for
each reader, and returns 1 where there was a fault.
"""

import argparse
import collections
import dataclasses
import json
import logging
import os
import pathlib
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import warnings

from tests.hostile.mutate import mutated
from tests.hostile.readers import READERS, Reader

# What a command ends in with one sentence, as `keras_nest.console.run` has it.
CLEAN = (ValueError, OSError, ModuleNotFoundError)
_SLOW = 10  # seconds
_CASES = 200  # a process


@dataclasses.dataclass
class Figures:
    """What came of a reader: files tried, read, and faults with the number of the first file that shows each."""

    tried: int = 0
    read: int = 0
    faults: dict[str, int] = dataclasses.field(default_factory=dict)


def fuzz(name: str, seeds: pathlib.Path, seconds: float, first: int = 0) -> Figures:
    """Tries files for some seconds; file number `first` is the first one."""
    figures, case, end = Figures(), first, time.monotonic() + seconds
    while time.monotonic() < end:
        lines, status = _in_a_process(READERS[name], seeds, case, end)
        begun = None
        for line in lines:
            if line["kind"] == "begun":
                begun = line["case"]
                continue
            begun, case = None, line["case"] + 1
            figures.tried += 1
            figures.read += line["kind"] == "read"
            for fault in line["faults"]:
                figures.faults.setdefault(fault, line["case"])
        if begun is not None:
            figures.tried, case = figures.tried + 1, begun + 1
            what = signal.Signals(status).name if 0 < status < 64 else f"exit {status}"
            figures.faults.setdefault("hangs" if what == "SIGALRM" else f"crashes ({what})", begun)
    return figures


def _in_a_process(reader: Reader, seeds: pathlib.Path, case: int, end: float) -> tuple[list[dict], int]:
    """Reads files from number `case` on; returns what is told of each, and the signal that ended the process."""
    told, tell = os.pipe()
    process = os.fork()
    if process == 0:
        os.close(told)
        try:
            _work(reader, seeds, case, end, tell)
        finally:
            os._exit(0)
    os.close(tell)
    with os.fdopen(told) as lines:
        text = lines.read()
    _, status = os.waitpid(process, 0)
    return [json.loads(line) for line in text.splitlines()], os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0


def _work(reader: Reader, seeds: pathlib.Path, first: int, end: float, tell: int) -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 1)
    os.dup2(nothing, 2)
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        for name in (*reader.beside, *reader.seeds):
            _copy(seeds / name, pathlib.Path(folder, name))
        for name in reader.seeds:  # which also imports what takes memory
            if _read_one(reader, pathlib.Path(folder, name))[0] != "read":
                _tell(tell, case=first, kind="fault", faults=[f"does not read the whole {name}"])
                return
        for case in range(first, first + _CASES):
            if case > first and time.monotonic() > end:
                return
            _tell(tell, case=case, kind="begun")
            path = write_case(reader, seeds, pathlib.Path(folder), case)
            # A busy machine is no fault of a reader: what it waits for counts where it waits for ever.
            signal.alarm(6 * _SLOW)
            before, begin = _megabytes(), time.process_time()
            kind, faults = _read_one(reader, path)
            signal.alarm(0)
            if (taken := time.process_time() - begin) > _SLOW:
                faults.append(f"takes more than {_SLOW} s ({taken:.0f})")
            if (grown := _megabytes() - before) > 2 * _size(path) / 2**20 + reader.spare:
                faults.append(f"takes {grown:.0f} MB for {_size(path):,} bytes")
            _tell(tell, case=case, kind=kind, faults=faults)


def write_case(reader: Reader, seeds: pathlib.Path, folder: pathlib.Path, case: int) -> pathlib.Path:
    """Writes the file of a number; the same number gives the same file."""
    rng = random.Random(case)
    name = rng.choice(reader.seeds)
    path = folder / name
    _copy(seeds / name, path)
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    file = rng.choice([file for file in files if file.is_file()])
    file.write_bytes(mutated(file.read_bytes(), rng))
    return path


def _read_one(reader: Reader, path: pathlib.Path) -> tuple[str, list[str]]:
    try:
        found = reader.read(path)
    except CLEAN as error:
        return f"refused: {error}"[:300], [] if str(error) else [f"says nothing ({type(error).__name__})"]
    except BaseException as error:
        ours = [frame for frame in traceback.extract_tb(error.__traceback__) if "/keras_nest/" in frame.filename]
        where = f"{pathlib.Path(ours[-1].filename).name}:{ours[-1].lineno}" if ours else "?"
        return "fault", [f"{type(error).__name__} in {where}: {str(error)[:100]}"]
    if reader.agree is not None:
        try:
            reader.agree(path, found)
        except Exception as error:
            return "fault", [f"is not what stands there: {type(error).__name__} {str(error)[:100]}"]
    return "read", []


def _copy(source: pathlib.Path, target: pathlib.Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(source, target)
    else:
        shutil.copy(source, target)


def _size(path: pathlib.Path) -> int:
    return sum(file.stat().st_size for file in (path.rglob("*") if path.is_dir() else [path]) if file.is_file())


def _megabytes() -> float:
    """The most memory that the process has taken so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _tell(pipe: int, **facts: object) -> None:
    os.write(pipe, json.dumps(facts).encode() + b"\n")


def main() -> int:
    """Returns 1 where there was a fault."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("readers", nargs="*", choices=[[], *READERS], metavar="READER")
    parser.add_argument("--seconds", type=float, default=float(os.environ.get("FUZZ_SECONDS", "300")))
    parser.add_argument("--first", type=int, default=0, help="number of the first file")
    parser.add_argument("--keep", type=pathlib.Path, help="folder for the files that show faults")
    args = parser.parse_args()
    total: collections.Counter[str] = collections.Counter()
    with tempfile.TemporaryDirectory(prefix="seeds-") as folder:
        seeds = pathlib.Path(folder)
        # In another process: TensorFlow has not run yet when this one is forked.
        make = f"import pathlib; from tests.hostile.readers import make_seeds; make_seeds(pathlib.Path({folder!r}))"
        subprocess.run([sys.executable, "-c", make], check=True)
        for name in args.readers or READERS:
            figures = fuzz(name, seeds, args.seconds, args.first)
            print(f"{name}: {figures.tried:,} files, {figures.read:,} read, {len(figures.faults)} faults", flush=True)
            total.update(files=figures.tried, faults=len(figures.faults))
            for fault, case in figures.faults.items():
                print(f"  {case}: {fault}", flush=True)
                if args.keep:
                    (args.keep / f"{name}-{case}").mkdir(parents=True, exist_ok=True)
                    write_case(READERS[name], seeds, args.keep / f"{name}-{case}", case)
    print(f"{total['files']:,} files, {total['faults']} faults")
    return 1 if total["faults"] else 0


if __name__ == "__main__":
    sys.exit(main())
