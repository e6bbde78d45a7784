"""What signals at random moments cost a training, on one machine and on two, and whether it ends as an undisturbed one.

A small NesT with everything that has a state (two moments and an average of each weight, masks, mixed images) learns
the digits. It is started again and again, and each time gets a signal at a random moment, from its start-up on: SIGTERM
or SIGKILL, one of two machines chosen by lot. Steps are counted by the history, which has a row of each. In the end the
weights must be those of a training that nothing disturbed, bit for bit, and so must the losses of all steps. Others,
without masks and mixing, change from one device to two and back, and from one machine to two and back.

Two machines are two processes of this one. Writes the table to results/interruptions.csv.
"""

import argparse
import contextlib
import json
import multiprocessing
import os
import pathlib
import random
import signal
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np

import train_keras
from benchmarks import timing
from keras_nest.files import local_path
from keras_nest.training.checkpoints import Checkpoints, saved_steps
from keras_nest.training.history import read_history
from keras_nest.training.stopping import Stopping

# Most of a start is imports: these processes have theirs behind them.
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["train_keras"])
SIGNALS, EVERY, BATCH = 20, 10, 64
CONFIG: dict[str, Any] = {
    "model_name": "nest_tiny_s16_32",
    "model": {
        "image_size": 16,
        "init_patch_embed_size": 4,
        "embedding_dim": 8,
        "num_heads": 2,
        "num_layers_per_block": (1, 1),
        "stochastic_depth_drop": 0.2,
    },
    "dataset": "digits",
    "augment": {"type": "shift", "max_shift": 4},
    "mix": {"mixup_alpha": 0.8, "cutmix_alpha": 1.0},
    "num_epochs": 20,
    "ema_decay": 0.8,
    "checkpoint_every_steps": EVERY,
    "eval_every_steps": 110,
    "log_loss_every_steps": 1,
    "learning_rate": 0.02,
    "seed": 3,
}
_TIMES = ("seconds", "images_per_second")


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs all of it from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=local_path, default=pathlib.Path("results"), help="directory of the CSV file")
    parser.add_argument("--signals", type=int, default=SIGNALS, help="of each kind (default: %(default)s)")
    parser.add_argument("--machines", type=int, nargs="+", default=(1, 2), help="numbers of them (default: 1 2)")
    parser.add_argument("--quick", action="store_true", help="one signal on one machine, which shows that it works")
    options = parser.parse_args(arguments)
    signals, numbers = (1, (1,)) if options.quick else (options.signals, options.machines)
    changes = {} if options.quick else _CHANGES
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        root = pathlib.Path(folder)
        for machines in numbers:
            undisturbed = Training(root / f"undisturbed{machines}", machines)
            undisturbed.finish()
            for kind in (signal.SIGTERM, signal.SIGKILL):
                rows.append(interrupt(root / f"{kind.name}{machines}", undisturbed, kind, signals))
                print(json.dumps(rows[-1]), flush=True)
        for name, starts in changes.items():
            rows.append(change(name, root / f"change{len(rows)}", starts))
            print(json.dumps(rows[-1]), flush=True)
    note = f"A checkpoint after every {EVERY} steps. Of two machines, the agreement is that of each step."
    timing.report("Trainings that signals end", rows, options.results / "interruptions.csv", note)


class Training:
    """A run of the command line on machines that are processes, which can be started again and again.

    Attributes:
        workdir: its directory, which the machines share.
        machines: their number.
        fields: of the configuration, beside `CONFIG`.
        times: seconds of each agreement ("due") and checkpoint ("save") of the first machine; after `finish`.
        starting: seconds until the first step; likewise.
    """

    def __init__(self, workdir: pathlib.Path, machines: int, fields: dict[str, Any] | None = None) -> None:
        self.workdir, self.machines = workdir, machines
        self.fields = {"per_device_batch_size": BATCH // machines, **(fields or {})}
        self.times: dict[str, list[float]] = {}
        self.starting = 0.0

    def start(self, strategy: str = "") -> list[Any]:
        """Starts the machines."""
        strategy = strategy or ("multi_worker" if self.machines > 1 else "one_device")
        places = _places(self.machines)
        started = []
        for place in places:
            arguments = (self.workdir, {**CONFIG, **self.fields}, strategy, place)
            started.append(PROCESSES.Process(target=_train, args=arguments))
            started[-1].start()
        return started

    def finish(self) -> None:
        """Trains to the end.

        Raises:
            RuntimeError: it does not get there.
        """
        began, processes = time.perf_counter(), self.start()
        while not self.reached and any(process.is_alive() for process in processes):
            time.sleep(0.01)
        self.starting = time.perf_counter() - began
        if codes := [process.exitcode for process in _ended(processes) if process.exitcode]:
            raise RuntimeError(f"It ended with {codes}: {self.told}")
        with contextlib.suppress(FileNotFoundError):
            self.times = json.loads(self.workdir.with_suffix(".json").read_text("utf-8"))

    @property
    def told(self) -> str:
        """What the machines have said."""
        return self.workdir.with_suffix(".log").read_text("utf-8")

    @property
    def reached(self) -> int:
        """The last step that is in the history."""
        with contextlib.suppress(OSError, ValueError, IndexError):
            return int(read_history(self.workdir / "history.csv")[-1]["step"])
        return 0

    @property
    def saved(self) -> int:
        """The step of the newest checkpoint."""
        return max(saved_steps(self.workdir / "checkpoints"), default=0)

    @property
    def is_finished(self) -> bool:
        """Whether its results are there."""
        return (self.workdir / "metrics.json").exists()


def interrupt(workdir: pathlib.Path, undisturbed: Training, kind: signal.Signals, count: int) -> dict[str, Any]:
    """Sends so many signals at random moments, and goes on to the end; a row of the table."""
    lot, lost, seconds, early, same = random.Random(kind), [], [], 0, []
    training = Training(workdir, undisturbed.machines)
    while len(lost) < count:
        before, processes = training.saved, training.start()
        if not _passes(lot.uniform(0, 3 * undisturbed.starting), processes):
            # It came to its end before that: another one is begun.
            _ended(processes)
            same.append(_is_same(training, undisturbed))
            training = Training(workdir.with_name(f"{workdir.name}-{len(same)}"), undisturbed.machines)
            continue
        sent = time.perf_counter()
        os.kill(lot.choice(processes).pid, kind)
        _ended(processes)
        seconds.append(time.perf_counter() - sent)
        lost.append(max(0, training.reached - training.saved))
        early += training.saved == before and not lost[-1]
    if not training.is_finished:
        training.finish()
    same.append(_is_same(training, undisturbed))
    return {
        "training": f"{undisturbed.machines} machine{'s' if undisturbed.machines > 1 else ''}, {kind.name}",
        "signals": count,
        "of them before a step": early,
        "most steps lost": max(lost),
        "mean steps lost": statistics.mean(lost),
        "median s to the end": statistics.median(seconds),
        "same bits at the end": "yes" if all(same) else "no",
        "largest difference of a loss": None,
        "median ms of an agreement": _median_ms(undisturbed.times.get("due")),
        "median ms of a checkpoint": _median_ms(undisturbed.times.get("save")),
    }


# Number of machines, strategy, and after which step it is asked to end.
_CHANGES = {
    "1, 2, 1 devices, no masks, no mixing": ((1, "one_device", 30), (1, "mirrored", 60), (1, "one_device", None)),
    "1, 2, 1 machines, no masks, no mixing": ((1, "one_device", 30), (2, "multi_worker", 60), (1, "one_device", None)),
}


def change(name: str, workdir: pathlib.Path, starts: Sequence[tuple[int, str, int | None]]) -> dict[str, Any]:
    """Trains on other devices or machines after each start; a row of the table, against one that stayed on one."""
    # Each device draws its own masks, and each machine mixes its own images.
    fields = {"model": {**CONFIG["model"], "stochastic_depth_drop": 0.0}, "mix": {}, "num_epochs": 4}
    fields |= {"per_device_batch_size": BATCH}
    undisturbed = Training(workdir.with_name(f"{workdir.name}-undisturbed"), 1, fields)
    undisturbed.finish()
    training = Training(workdir, 1, fields)
    for training.machines, strategy, step in starts:
        processes = training.start(strategy)
        _wait_until(lambda until=step: until is not None and training.reached >= until, processes)
        if step is not None:
            os.kill(processes[0].pid, signal.SIGTERM)
        _ended(processes)
    losses = [[row["loss"] for row in read_history(each.workdir / "history.csv")] for each in (training, undisturbed)]
    return {
        "training": name,
        "signals": sum(step is not None for *_, step in starts),
        "of them before a step": None,
        "most steps lost": None,
        "mean steps lost": None,
        "median s to the end": None,
        "same bits at the end": "",
        "largest difference of a loss": float(np.abs(np.subtract(*losses)).max()),
        "median ms of an agreement": None,
        "median ms of a checkpoint": None,
    }


def _train(workdir: pathlib.Path, config: dict[str, Any], strategy: str, place: dict[str, Any] | None) -> None:
    """One machine of a training, in a process of its own."""
    is_first = place is None or place["task"]["index"] == 0
    with open(workdir.with_suffix(".log"), "ab") as log:
        for stream in (1, 2):
            os.dup2(log.fileno(), stream)
    if place is not None:
        os.environ["TF_CONFIG"] = json.dumps(place)
    if strategy == "mirrored":
        _two_devices()
    # A file of each start and machine: another may be reading at this moment.
    file = workdir.with_name(f"{workdir.name}-{os.getpid()}.py")
    file.write_text(f"import ml_collections\n\n\ndef get_config():\n    return ml_collections.ConfigDict({config!r})\n")
    times = {owner_name: _timed(*owner_name) for owner_name in ((Stopping, "due"), (Checkpoints, "save"))}
    sys.argv = ["train_keras.py", f"--config={file}", f"--workdir={workdir}", f"--strategy={strategy}"]
    train_keras.run()
    if is_first:
        told = json.dumps({name: seconds for (_, name), seconds in times.items()})
        workdir.with_suffix(".json").write_text(told, "utf-8")


def _two_devices() -> None:
    import tensorflow as tf

    (cpu,) = tf.config.list_physical_devices("CPU")
    tf.config.set_logical_device_configuration(cpu, 2 * [tf.config.LogicalDeviceConfiguration()])


def _timed(owner: type, name: str) -> list[float]:
    """From now on the seconds of each call of a method are noted."""
    original, seconds = getattr(owner, name), []

    def timed(*arguments: Any, **options: Any) -> Any:
        began = time.perf_counter()
        try:
            return original(*arguments, **options)
        finally:
            seconds.append(time.perf_counter() - began)

    setattr(owner, name, timed)
    return seconds


def _places(machines: int) -> list[dict[str, Any] | None]:
    """What TF_CONFIG says on each machine; nothing on the only one."""
    if machines == 1:
        return [None]
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(machines)]
        for one in sockets:
            one.bind(("localhost", 0))
        cluster = {"worker": [f"localhost:{one.getsockname()[1]}" for one in sockets]}
    return [{"cluster": cluster, "task": {"type": "worker", "index": index}} for index in range(machines)]


def _wait_until(happened: Callable[[], bool], processes: Sequence[Any], seconds: float = 600) -> bool:
    """Waits for something; false where a process ended before, or it does not come."""
    end = time.perf_counter() + seconds
    while time.perf_counter() < end and all(process.is_alive() for process in processes):
        if happened():
            return True
        time.sleep(0.005)
    return False


def _passes(seconds: float, processes: Sequence[Any]) -> bool:
    end = time.perf_counter() + seconds
    return _wait_until(lambda: time.perf_counter() > end, processes)


def _ended(processes: Sequence[Any], seconds: float = 180) -> Sequence[Any]:
    """The same once they have ended; what waits for a lost machine for ever is ended."""
    end = time.perf_counter() + seconds
    for process in processes:
        process.join(max(0.1, end - time.perf_counter()))
        if process.is_alive():
            process.kill()
            process.join()
    return processes


def _is_same(training: Training, other: Training) -> bool:
    """Whether weights and losses are the same, bit for bit."""
    models = [keras.models.load_model(each.workdir / "model.keras").get_weights() for each in (training, other)]
    rows = [list(_rows(each.workdir)) for each in (training, other)]
    return rows[0] == rows[1] and all(map(np.array_equal, *models))


def _rows(workdir: pathlib.Path) -> Iterator[dict[str, Any]]:
    for row in read_history(workdir / "history.csv"):
        yield {name: value for name, value in row.items() if name not in _TIMES}


def _median_ms(seconds: Sequence[float] | None) -> float | None:
    return 1000 * statistics.median(seconds) if seconds else None


if __name__ == "__main__":
    main()
