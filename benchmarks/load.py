"""Many clients at once: the servers of examples/serving/ under load, good requests and bad ones mixed 9 to 1.

For a toy of each family, over gRPC and over HTTP on the loopback address: 16 clients ask with files and with floats.
Every good answer is compared with what the Keras model says, and every bad request must be refused. The memory of the
server is looked at before, in the middle and afterwards. Then it is told to stop while each client waits for an answer
that takes long: all of them must come.
"""

import argparse
import concurrent.futures
import dataclasses
import itertools
import pathlib
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import psutil

from benchmarks import load_cases, timing
from benchmarks.load_cases import CLIENTS, MODELS, NAME, Case, Cases
from keras_nest.files import local_path

SERVERS = pathlib.Path(__file__).resolve().parent.parent / "examples" / "serving"
_SCRIPTS = {"gRPC": "grpc_server.py", "HTTP": "http_server.py"}
_START_SECONDS = 180
# Before the first look at the memory: batches of every size have been seen then.
_WARM_UP = 0.1


@dataclasses.dataclass
class Tally:
    """What has become of the requests.

    Attributes:
        good: answered with the right values.
        bad: refused, as they must be.
        wrong: answered in another way.
        lost: without an answer.
        seconds: of each that has an answer.
    """

    good: int = 0
    bad: int = 0
    wrong: int = 0
    lost: int = 0
    seconds: list[float] = dataclasses.field(default_factory=list)

    def ask(self, client: load_cases.Client, case: Case, request: bytes) -> None:
        """Asks and counts."""
        start = time.perf_counter()
        try:
            answer = client.ask(request, case.output)
        except ConnectionError:
            self.lost += 1
            return
        self.seconds.append(time.perf_counter() - start)
        if not case.accepts(answer):
            self.wrong += 1
        elif case.expected is None:
            self.bad += 1
        else:
            self.good += 1


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the benchmark from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=100_000, help="in all")
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--models", nargs="+", default=MODELS, choices=MODELS)
    parser.add_argument("--protocols", nargs="+", default=[*CLIENTS], choices=[*CLIENTS])
    parser.add_argument("--results", type=local_path, default=pathlib.Path("results"), help="directory of the CSV file")
    options = parser.parse_args(arguments)
    runs = [*itertools.product(options.models, options.protocols)]
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for model in options.models:
            saved = pathlib.Path(folder, model)
            cases, slow = load_cases.write(model, saved)
            for protocol in options.protocols:
                measured = measure(saved, protocol, cases, slow, -(-options.requests // len(runs)), options.clients)
                rows.append({"model": model, "protocol": protocol, **measured})
                timing.report("Many clients at once", rows, options.results / "load.csv")
    if any(row[trouble] for row in rows for trouble in ("wrong", "lost")):
        sys.exit("Requests were lost, or answered wrongly.")


def measure(
    saved: pathlib.Path, protocol: str, cases: Cases, slow: Case, requests: int, clients: int
) -> dict[str, Any]:
    """A row of the table: one server under load, and how it stops.

    Args:
        saved: the SavedModel.
        protocol: one of `CLIENTS`.
        cases: what is asked, in turn.
        slow: what is asked when the server is told to stop.
        requests: how many in all.
        clients: threads that ask.
    """
    with serving(saved, protocol) as (process, port):
        crowd = Crowd(protocol, port, cases, clients)
        crowd.run(max(int(_WARM_UP * requests), 5 * clients))
        memory, start = [_megabytes(process)], time.perf_counter()
        tallies = []
        for count in (requests // 2, requests - requests // 2):
            tallies += crowd.run(count)
            memory.append(_megabytes(process))
        seconds = time.perf_counter() - start
        in_flight = crowd.stop(process, slow)
    times = np.concatenate([tally.seconds for tally in tallies])
    return {
        "requests": requests,
        **{name: sum(getattr(tally, name) for tally in tallies) for name in ("good", "bad", "wrong", "lost")},
        "requests/s": round(requests / seconds),
        **{f"p{part} ms": round(float(np.percentile(times, part)) * 1e3, 1) for part in (50, 99)},
        **dict(zip(("MB at start", "MB in the middle", "MB at the end"), memory, strict=True)),
        "in flight at the stop": clients,
        "of them answered": in_flight,
        "exit status": process.returncode,
    }


class Crowd:
    """Clients that ask at the same time, each over its own connection.

    Args:
        protocol: one of `CLIENTS`.
        port: of the server.
        cases: what they ask, in turn.
        clients: how many they are.
    """

    def __init__(self, protocol: str, port: int, cases: Cases, clients: int) -> None:
        self._clients = [CLIENTS[protocol](port) for _ in range(clients)]
        self._cases = [(case, self._clients[0].encode(case)) for case in cases]

    def run(self, count: int) -> list[Tally]:
        """Asks so often in all; each client begins somewhere else."""
        parts = np.diff(np.linspace(0, count, len(self._clients) + 1).astype(int)).tolist()

        def ask(number: int) -> Tally:
            tally = Tally()
            for turn in range(parts[number]):
                case, request = self._cases[(turn + 23 * number) % len(self._cases)]
                tally.ask(self._clients[number], case, request)
            return tally

        with concurrent.futures.ThreadPoolExecutor(len(self._clients)) as threads:
            return list(threads.map(ask, range(len(self._clients))))

    def stop(self, process: subprocess.Popen[bytes], slow: Case) -> int:
        """Ends a server, and the clients, while each waits for a slow answer; returns how many came and are right."""
        request = self._clients[0].encode(slow)
        tallies = [Tally() for _ in self._clients]
        threads = [
            threading.Thread(target=tally.ask, args=(client, slow, request))
            for tally, client in zip(tallies, self._clients, strict=True)
        ]
        for thread in threads:
            thread.start()
        time.sleep(0.5)
        waiting = sum(thread.is_alive() for thread in threads)
        process.send_signal(signal.SIGTERM)
        for thread in threads:
            thread.join()
        process.wait(60)
        for client in self._clients:
            client.close()
        if not waiting:
            sys.exit("No request was in flight any more when the server was told to stop.")
        return sum(tally.good for tally in tallies)


@contextmanager
def serving(saved: pathlib.Path, protocol: str) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """A server in a process of its own that does not know this package, and its port."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, str(SERVERS / _SCRIPTS[protocol]), str(saved), "--name", NAME, "--port", str(port)]
    process = subprocess.Popen(command, cwd=saved, stdout=subprocess.DEVNULL)
    try:
        _wait_for(process, port)
        yield process, port
    finally:
        process.kill()
        process.wait()


def _wait_for(process: subprocess.Popen[bytes], port: int) -> None:
    until = time.monotonic() + _START_SECONDS
    while time.monotonic() < until:
        if process.poll() is not None:
            sys.exit(f"The server ended with status {process.returncode}.")
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.2)
    sys.exit(f"The server did not start within {_START_SECONDS} s.")


def _megabytes(process: subprocess.Popen[bytes]) -> int:
    return round(psutil.Process(process.pid).memory_info().rss / 2**20)


if __name__ == "__main__":
    main()
