"""A training from its configuration to its results: what `train_keras.py` runs."""

import pathlib
import sys
from collections.abc import Sequence
from typing import Any

from keras_nest import console
from keras_nest.training import command_line
from keras_nest.training.experiment import Config, Experiment, prepare


def main(config: Config, workdir: str | pathlib.Path, overwrite: bool = False) -> dict[str, Any]:
    """Trains a model and writes DIR/model.keras, history.csv, curves.png, metrics.json and config.json.

    The model is that of the last epoch; none is chosen by its test accuracy.

    Args:
        config: what to train, on what, how; fields of `keras_nest.training.config.DEFAULTS`.
        workdir: directory of the run.
        overwrite: replace the results of an earlier run in it.

    Returns:
        The content of metrics.json: top1, top5 (shares), loss, examples, parameters, train_seconds, epochs, seed.

    Raises:
        ValueError: a field has no meaning.
        FileExistsError: the directory holds the results of another run.
        PermissionError: the directory cannot be written to.
        ModuleNotFoundError: the package with the data is not installed.
    """
    return prepare(config, workdir, overwrite).execute()


def run(argv: Sequence[str] | None = None) -> None:
    """The command line; ends the process with code 2 and one sentence when it is used wrongly.

    Args:
        argv: program name and arguments; None takes those of the process.
    """
    ready: list[Experiment] = []

    def get_ready() -> None:
        arguments = command_line.parse(sys.argv if argv is None else argv)
        ready.append(prepare(arguments.config, arguments.workdir, arguments.overwrite))

    if code := console.run(get_ready):
        raise SystemExit(code)
    (experiment,) = ready
    # What goes wrong from here on is no wrong use, and keeps its traceback.
    print(experiment.description, flush=True)
    try:
        metrics = experiment.execute()
    except KeyboardInterrupt:
        print("\nInterrupted; the same command starts this training again.", flush=True)
        raise SystemExit(130) from None
    console.print_facts(f"Results in {experiment.workdir}", command_line.results(metrics))
