"""Weights & Biases and MLflow: what a run writes into its history goes there, too.

Where their servers are, and who logs in, comes from the environment, as always with them: WANDB_*, MLFLOW_TRACKING_*.
Rows after the last checkpoint, which a run that was broken off had handed over already, come there a second time.
"""

import logging
import os
import pathlib
import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from keras_nest.files import atomic_output
from keras_nest.optional import import_optional
from keras_nest.run_files import TRACKING

PROJECT = "keras_nest"
"""Project of Weights & Biases, or experiment of MLflow, where the environment names no other."""

_LOGGER = logging.getLogger(__name__)
_LONGEST = 500  # characters of a parameter, of which MLflow takes no more


class Tracker(Protocol):
    """A run of one of them."""

    run_id: str

    def log(self, values: Mapping[str, float], step: int) -> None:
        """Takes what was measured after a step."""

    def summarize(self, values: Mapping[str, float]) -> None:
        """Takes what the whole run came to."""

    def close(self) -> None:
        """Ends the run there; one of the same id goes on with it."""


def check_tracker(name: str | None) -> None:
    """Refuses a tracker whose package is not there.

    Args:
        name: one of `keras_nest.choices.TRACKERS`; None or "" is none.

    Raises:
        ModuleNotFoundError: it is not installed; says how to install it.
    """
    if name:
        import_optional(name, f"log={name} hands the history to {name}", name)


def open_tracker(name: str, workdir: pathlib.Path, config: Mapping[str, Any]) -> Tracker:
    """Begins a run there, or goes on with that of the working directory.

    Args:
        name: one of `keras_nest.choices.TRACKERS`.
        workdir: of the training, after which the run is called; it keeps the run's id.
        config: flat fields of the configuration.

    Raises:
        ModuleNotFoundError: the package is not installed.
        OSError: it does not take the run, for instance since nobody is logged in.
    """
    check_tracker(name)
    kinds: dict[str, Callable[..., Tracker]] = {"wandb": _Wandb, "mlflow": _Mlflow}
    path = workdir / TRACKING
    known = path.read_text("utf-8").strip() if path.is_file() else None
    try:
        tracker = kinds[name](known, workdir.name, config)
    # Of theirs, there are many kinds.
    except Exception as error:
        raise OSError(f"{name} does not take this run: {' '.join(str(error).split())}") from error
    if known != tracker.run_id:
        with atomic_output(path, overwrite=True) as partial:
            partial.write_text(f"{tracker.run_id}\n", "utf-8")
    return _Patient(tracker, name)


class _Patient:
    """A tracker whose errors are told once, and end no training."""

    def __init__(self, tracker: Tracker, name: str) -> None:
        self.run_id, self._tracker, self._name, self._is_told = tracker.run_id, tracker, name, False

    def log(self, values: Mapping[str, float], step: int) -> None:
        self._try(self._tracker.log, values, step)

    def summarize(self, values: Mapping[str, float]) -> None:
        self._try(self._tracker.summarize, values)

    def close(self) -> None:
        self._try(self._tracker.close)

    def _try(self, function: Callable[..., None], *arguments: Any) -> None:
        try:
            function(*arguments)
        except Exception as error:
            if not self._is_told:
                self._is_told = True
                _LOGGER.warning("%s does not take all of the run, which its directory has: %s", self._name, error)


class _Wandb:
    """A run of Weights & Biases."""

    def __init__(self, run_id: str | None, name: str, config: Mapping[str, Any]) -> None:
        import wandb

        project = os.environ.get("WANDB_PROJECT", PROJECT)
        self._run = wandb.init(project=project, name=name, id=run_id, resume="allow", config=dict(config))
        # Of its own steps it would take none twice, and a run that goes on begins before its last row.
        self._run.define_metric("*", step_metric="step")
        self.run_id = self._run.id

    def log(self, values: Mapping[str, float], step: int) -> None:
        self._run.log({**values, "step": step})

    def summarize(self, values: Mapping[str, float]) -> None:
        self._run.summary.update(dict(values))

    def close(self) -> None:
        self._run.finish()


class _Mlflow:
    """A run of MLflow, through its client: another one may be active in this process."""

    def __init__(self, run_id: str | None, name: str, config: Mapping[str, Any]) -> None:
        import mlflow

        self._client = mlflow.MlflowClient()
        if run_id:
            self.run_id = run_id
            self._client.update_run(run_id, status="RUNNING")
            return
        self.run_id = self._client.create_run(self._experiment(), run_name=name).info.run_id
        params = [mlflow.entities.Param(field, str(value)[:_LONGEST]) for field, value in config.items()]
        self._client.log_batch(self.run_id, params=params)

    def _experiment(self) -> str:
        """Id of the experiment, which is made where there is none."""
        if told := os.environ.get("MLFLOW_EXPERIMENT_ID"):
            return told
        project = os.environ.get("MLFLOW_EXPERIMENT_NAME", PROJECT)
        there = self._client.get_experiment_by_name(project)
        return there.experiment_id if there else self._client.create_experiment(project)

    def log(self, values: Mapping[str, float], step: int) -> None:
        from mlflow.entities import Metric

        now = int(1000 * time.time())
        self._client.log_batch(self.run_id, metrics=[Metric(name, value, now, step) for name, value in values.items()])

    def summarize(self, values: Mapping[str, float]) -> None:
        self.log(values, 0)

    def close(self) -> None:
        self._client.set_terminated(self.run_id)
