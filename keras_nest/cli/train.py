"""`keras-nest train` and `train_keras.py`: a training from its configuration to its results."""

import contextlib
import pathlib
import re
import sys
from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf

from keras_nest import console
from keras_nest.backends import check_backend, require_tensorflow
from keras_nest.cli import train_arguments
from keras_nest.files import telling_of_disk
from keras_nest.generative import experiment as gan
from keras_nest.mirror import fetch, mirrored
from keras_nest.places import shown, telling_addresses
from keras_nest.profiling import count_macs, count_parameters
from keras_nest.run_files import CHECKPOINTS
from keras_nest.training import classify, inference_time, lit
from keras_nest.training import workdir as directories
from keras_nest.training.callbacks import NotFiniteError
from keras_nest.training.checkpoints import OtherModelError, UnreadableError, saved_steps
from keras_nest.training.config import Config
from keras_nest.training.jax_devices import JaxDevices
from keras_nest.training.jax_machines import why_lost
from keras_nest.training.lock import InUseError
from keras_nest.training.stopping import Stopped
from keras_nest.training.strategies import Strategy, create_strategy, is_chief, wait_for_all
from keras_nest.training.tasks import Run, Task, task_name

TASKS: dict[str, Task] = {
    "classify": classify.TASK,
    "lit": lit.TASK,
    "inference_time": inference_time.TASK,
    "gan": gan.TASK,
}
"""What a configuration can ask for with `trainer`; "train" is one of the first two, see `task_name`."""

_INTERRUPTED = 130


def main(
    config: Config,
    workdir: str | pathlib.Path,
    overwrite: bool = False,
    strategy: str | Strategy = "auto",
    tpu: str | None = None,
) -> dict[str, Any]:
    """Trains a model and writes DIR/model.keras, history.csv, curves.png, confusion.png, metrics.json and config.json.

    A training that was broken off goes on from its last checkpoint; one that is finished is not repeated. The model is
    that of the last step; none is chosen by its test accuracy. With `trainer` "inference_time" the speed of a model is
    measured instead, see `InferenceTime`; with "gan" a generator is trained, see `GanExperiment`.

    Args:
        config: what to train, on what, how; see `keras_nest.training_fields`.
        workdir: directory of the run; an address such as gs://bucket/run is one, too, see `keras_nest.mirror`.
        overwrite: start anew, and replace the results of an earlier run in it.
        strategy: a name for `create_strategy`, or a strategy.
        tpu: as for `create_strategy`.

    Returns:
        The content of metrics.json: top1, top5 (fractions), loss, examples, eval_images_per_second, parameters,
        train_seconds, steps, epochs, seed; or those of a generator, or that of inference_time.json.

    Raises:
        ValueError: a field has no meaning, or TensorFlow has no file system for the address.
        FileExistsError: the directory holds the results of another run.
        InUseError: another training is at work there.
        FileNotFoundError: data, weights, or checkpoints that were written are not there.
        PermissionError: the directory cannot be written to.
        ModuleNotFoundError: the package with the data is not installed.
        ConnectionError: no TPU answers.
        NotFiniteError: the loss became infinite or not a number.
        UnreadableError: all checkpoints are damaged.
        OtherModelError: they are of another model.
        OSError: the disk takes no more.
    """
    with mirrored(workdir) as directory:
        ready = prepare(config, directory, overwrite, strategy, tpu)
        return ready.results() or ready.execute()


def prepare(
    config: Config,
    workdir: str | pathlib.Path,
    overwrite: bool = False,
    strategy: str | Strategy = "auto",
    tpu: str | None = None,
) -> Run:
    """Everything before the first step, whatever the task; from then on the directory belongs to this run.

    Arguments and errors are those of `main`, but for what goes wrong in the training itself; the directory is local.
    """
    name = task_name(config)
    if name not in TASKS:
        known = " or ".join(map(repr, ("train", *TASKS)))
        raise ValueError(f"trainer is {name!r}; it must be {known}.")
    if name not in ("classify", "lit"):
        require_tensorflow(f"trainer={name}", "train without --backend=jax")
    task = TASKS[name]
    ready = task.prepare(task.resolve(config), workdir, overwrite, strategy, tpu)
    if is_chief(ready.strategy):
        files = [file for other in TASKS.values() for file in other.files]
        folders = [folder for other in TASKS.values() for folder in other.folders]
        directories.claim(ready.workdir, ready.config_json, overwrite, files, folders)
    # Before it was claimed, the directory may hold checkpoints of a run that is replaced.
    wait_for_all(ready.strategy)
    if not is_chief(ready.strategy):
        fetch(ready.workdir)
    return ready


def run(argv: Sequence[str] | None = None) -> None:
    """The command line; ends the process with code 2 and one sentence when it is used wrongly.

    Args:
        argv: program name and arguments; None takes those of the process.
    """
    ready: list[Run] = []

    def get_ready() -> None:
        asked = train_arguments.parse(sys.argv if argv is None else argv)
        check_backend(asked.backend)
        if asked.trust:
            keras.config.enable_unsafe_deserialization()
        workdir = places.enter_context(mirrored(asked.workdir))
        with telling_addresses():
            strategy: str | Strategy = asked.strategy
            if asked.model_parallel > 1:
                strategy = create_strategy(asked.strategy, asked.tpu, asked.model_parallel)
            ready.append(prepare(asked.config, workdir, asked.overwrite, strategy, asked.tpu))

    with contextlib.ExitStack() as places:
        if code := console.run(get_ready):
            raise SystemExit(code)
        _run(*ready)


def _run(ready: Run) -> None:
    """What goes wrong here is no wrong use, and keeps its traceback, but for what one sentence can say."""
    chief, profile = is_chief(ready.strategy), int(ready.config.get("log_model_profile", 0))
    if chief and profile:
        console.print_facts(ready.model.name, profile_model(ready.model))
    if profile > 1:
        return
    metrics = ready.results()
    if chief:
        finished = f"{shown(ready.workdir)} holds this run, finished; --overwrite starts it anew."
        print(finished if metrics else ready.description, flush=True)
    metrics = metrics or execute(ready.execute, ready.strategy, ready.workdir)
    if chief:
        console.print_facts(f"Results in {shown(ready.workdir)}", ready.report(metrics))


def execute(training: Callable[[], dict[str, Any]], strategy: Strategy, workdir: pathlib.Path) -> dict[str, Any]:
    """The results of a training; ends the process if it is interrupted, or if one sentence can say what went wrong.

    Args:
        training: does the work, and returns the metrics.
        strategy: where it runs.
        workdir: its directory, which tells what the same command will do next.

    Raises:
        SystemExit: see above.
    """
    try:
        with telling_addresses(), telling_of_disk(f"A file of the run in {shown(workdir)}"):
            return training()
    except Stopped as stopped:
        if is_chief(strategy):
            print(f"Stopped after step {stopped.step:,}; the same command goes on from there.", flush=True)
        raise SystemExit(stopped.status) from None
    except KeyboardInterrupt:
        print(f"\nInterrupted; {_what_comes_next(workdir)}.", flush=True)
        raise SystemExit(_INTERRUPTED) from None
    except (InUseError, FileExistsError) as error:
        raise _exit(2, error) from None
    except (NotFiniteError, UnreadableError, OtherModelError) as error:
        raise _exit(1, error) from None
    except OSError as error:
        reason = " ".join(str(error).split()).rstrip(".")
        raise _exit(1, f"{reason}. Put that right; {_what_comes_next(workdir)}.") from None
    except (tf.errors.NotFoundError, tf.errors.InvalidArgumentError, tf.errors.DataLossError) as error:
        if "IteratorGetNext" not in str(error.message):
            raise
        raise _exit(1, _lost_image(error, workdir)) from None
    except (tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.InternalError) as error:
        if strategy.num_replicas_in_sync == 1:
            raise
        raise _exit(1, _lost_worker(str(error.message), workdir)) from None
    except (RuntimeError, ValueError) as error:
        lost = why_lost(error) if isinstance(strategy, JaxDevices) and strategy.machines > 1 else None
        if lost is None:
            raise
        raise _exit(1, _lost_worker(lost, workdir)) from None


def _exit(code: int, sentence: object) -> SystemExit:
    print(f"error: {sentence}", file=sys.stderr)
    return SystemExit(code)


def profile_model(model: keras.Model) -> dict[str, int]:
    """Size and cost of a model, as `log_model_profile` prints it."""
    return {"parameters": count_parameters(model), "multiply-adds": count_macs(model)}


def _what_comes_next(workdir: pathlib.Path) -> str:
    if saved_steps(workdir / CHECKPOINTS):
        return "the same command goes on from the last checkpoint"
    return "no checkpoint is written yet, and the same command starts again"


def _lost_image(error: tf.errors.OpError, workdir: pathlib.Path) -> str:
    # Around the reason TensorFlow has operations, stages of the input, and where they were written.
    around = r"Graph execution error:|Detected at node .*|<stack traces.*|\s*\[\[.*|\s*"
    lines = [line for line in str(error.message).splitlines() if not re.fullmatch(around, line)]
    told = re.sub(r"^({{.*?}} *)+", "", lines[-1]) if lines else "no reason told"
    reason = re.sub(r"^.*Iterator::\S*: *", "", told).rstrip(".")
    return (
        f"An image or its label cannot be read any more ({reason}). Put that right; {_what_comes_next(workdir)}, and "
        "names what else is broken."
    )


def _lost_worker(told: str, workdir: pathlib.Path) -> str:
    # TensorFlow puts the name of an operation before its words.
    reason = re.sub(r"^{{.*?}} *", "", told).splitlines()[0].rstrip(".:")
    return (
        f"A machine of this training was lost ({reason}); start the same command again on all of them: "
        f"{_what_comes_next(workdir)}."
    )
