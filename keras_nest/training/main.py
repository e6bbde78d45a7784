"""A training from its configuration to its results: what `train_keras.py` runs."""

import pathlib
import re
import sys
from collections.abc import Sequence
from typing import Any, TypeAlias

import keras
import tensorflow as tf

from keras_nest import console
from keras_nest.files import check_local
from keras_nest.generative.experiment import GanExperiment, prepare_gan
from keras_nest.profiling import count_macs, count_parameters
from keras_nest.training import command_line, run_directory
from keras_nest.training.checkpoints import OtherModelError, UnreadableError
from keras_nest.training.config import plays_gan, times_inference
from keras_nest.training.experiment import Experiment
from keras_nest.training.inference_time import InferenceTime
from keras_nest.training.lock import InUseError
from keras_nest.training.loop import NotFiniteError
from keras_nest.training.prepare import Config, prepare
from keras_nest.training.strategies import is_chief

_INTERRUPTED = 130
Task: TypeAlias = Experiment | GanExperiment | InferenceTime
"""What a configuration asks for."""


def main(
    config: Config,
    workdir: str | pathlib.Path,
    overwrite: bool = False,
    strategy: str | tf.distribute.Strategy = "auto",
    tpu: str | None = None,
) -> dict[str, Any]:
    """Trains a model and writes DIR/model.keras, history.csv, curves.png, confusion.png, metrics.json and config.json.

    A training that was broken off goes on from its last checkpoint; one that is finished is not repeated. The model is
    that of the last step; none is chosen by its test accuracy. With `trainer` "inference_time" the speed of a model is
    measured instead, see `InferenceTime`; with "gan" a generator is trained, see `GanExperiment`.

    Args:
        config: what to train, on what, how; fields of `keras_nest.training.config`.
        workdir: directory of the run.
        overwrite: start anew, and replace the results of an earlier run in it.
        strategy: a name for `create_strategy`, or a strategy.
        tpu: as for `create_strategy`.

    Returns:
        The content of metrics.json: top1, top5 (shares), loss, examples, eval_images_per_second, parameters,
        train_seconds, steps, epochs, seed; or those of a generator, or that of inference_time.json.

    Raises:
        ValueError: a field has no meaning, or `workdir` is an address such as gs://….
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
    task = _get_ready(config, workdir, overwrite, strategy, tpu)
    return run_directory.results(task.workdir) or task.execute()


def run(argv: Sequence[str] | None = None) -> None:
    """The command line; ends the process with code 2 and one sentence when it is used wrongly.

    Args:
        argv: program name and arguments; None takes those of the process.
    """
    ready: list[Task] = []

    def get_ready() -> None:
        *task, trust = command_line.parse(sys.argv if argv is None else argv)
        if trust:
            keras.config.enable_unsafe_deserialization()
        ready.append(_get_ready(*task))

    if code := console.run(get_ready):
        raise SystemExit(code)
    (task,) = ready
    if isinstance(task, InferenceTime):
        console.print_facts(f"Results in {task.workdir}", task.execute())
    elif isinstance(task, GanExperiment):
        _play(task)
    else:
        _train(task)


def _get_ready(config: Config, workdir: str | pathlib.Path, overwrite: bool, *where: Any) -> Task:
    check_local(workdir)
    if times_inference(config):
        return InferenceTime(config, workdir, overwrite)
    if plays_gan(config):
        return prepare_gan(config, workdir, overwrite, *where)
    return prepare(config, workdir, overwrite, *where)


def _train(experiment: Experiment) -> None:
    """What goes wrong here is no wrong use, and keeps its traceback, but for what is told in one sentence."""
    chief = is_chief(experiment.strategy)
    metrics = run_directory.results(experiment.workdir)
    if chief and experiment.config.log_model_profile:
        console.print_facts(experiment.model.name, profile(experiment.model))
    if int(experiment.config.log_model_profile) > 1:
        return
    if chief:
        finished = f"{experiment.workdir} holds this run, finished; --overwrite starts it anew."
        print(finished if metrics else experiment.description, flush=True)
    try:
        metrics = metrics or _executed(experiment)
    except (tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.InternalError) as error:
        if experiment.strategy.num_replicas_in_sync == 1:
            raise
        print(f"error: {_lost(error)}", file=sys.stderr)
        raise SystemExit(1) from None
    if chief:
        console.print_facts(f"Results in {experiment.workdir}", command_line.results(metrics))


def _play(experiment: GanExperiment) -> None:
    """Trains a generator; what goes wrong is told as in `_train`."""
    print(experiment.description, flush=True)
    metrics = run_directory.results(experiment.workdir) or _executed(experiment)
    console.print_facts(f"Results in {experiment.workdir}", metrics)


def _executed(experiment: Experiment | GanExperiment) -> dict[str, Any]:
    """The results; ends the process if it is interrupted, or if something went wrong that one sentence tells."""
    try:
        return experiment.execute()
    except KeyboardInterrupt:
        print("\nInterrupted; the same command goes on from the last checkpoint.", flush=True)
        raise SystemExit(_INTERRUPTED) from None
    except (InUseError, FileExistsError) as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    except (NotFiniteError, UnreadableError, OtherModelError) as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(1) from None
    except OSError as error:
        reason = " ".join(str(error).split()).rstrip(".")
        print(
            f"error: {reason}. Put that right, and the same command goes on from the last checkpoint.", file=sys.stderr
        )
        raise SystemExit(1) from None


def profile(model: keras.Model) -> dict[str, int]:
    """Size and cost of a model, as `log_model_profile` prints it."""
    return {"parameters": count_parameters(model), "multiply-adds": count_macs(model)}


def _lost(error: tf.errors.OpError) -> str:
    # TensorFlow puts the name of an operation before its words.
    reason = re.sub(r"^{{.*?}} *", "", str(error.message)).splitlines()[0].rstrip(".:")
    return (
        f"A machine of this training was lost ({reason}); start the same command again on all of them, and it goes on "
        "from the last checkpoint."
    )
