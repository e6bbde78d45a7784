"""What a training configuration can ask for, and which task one does ask for."""

import dataclasses
import pathlib
from collections.abc import Callable
from typing import Any, Protocol

import keras
from ml_collections import ConfigDict

from keras_nest import registry
from keras_nest.models.lit import LiT
from keras_nest.training.config import Config, model_name
from keras_nest.training.strategies import Strategy


class Run(Protocol):
    """A task that is ready to start, or to go on."""

    @property
    def config(self) -> ConfigDict:
        """Complete configuration."""
        ...

    @property
    def config_json(self) -> dict[str, Any]:
        """Content of config.json."""
        ...

    @property
    def workdir(self) -> pathlib.Path:
        """Directory of the run."""
        ...

    @property
    def strategy(self) -> Strategy:
        """Where it runs."""
        ...

    @property
    def model(self) -> keras.Model:
        """The model that is trained or measured."""
        ...

    @property
    def description(self) -> str:
        """What will be done, in one sentence."""
        ...

    def results(self) -> dict[str, Any] | None:
        """The metrics if this run is finished, else None."""
        ...

    def execute(self) -> dict[str, Any]:
        """Does the work and writes; returns the metrics."""
        ...

    def report(self, metrics: dict[str, Any]) -> dict[str, Any]:
        """Metrics as they are shown to the user."""
        ...


@dataclasses.dataclass(frozen=True)
class Task:
    """One kind of run.

    Attributes:
        resolve: given fields -> the complete configuration, checked.
        prepare: (complete configuration, workdir, overwrite, strategy, tpu) -> a run, of which nothing is written yet;
            whatever is wrong with the request is found there.
        files: names of files that its runs leave, beside those of `keras_nest.run_files`.
        folders: likewise.
    """

    resolve: Callable[[Config], ConfigDict]
    prepare: Callable[..., Run]
    files: tuple[str, ...] = ()
    folders: tuple[str, ...] = ()


def task_name(config: Config) -> Any:
    """The task of a configuration: its `trainer`, or where that says only "train", what the model is.

    Args:
        config: complete or not; the papers' own have no `trainer`, or "inference_time" under the name `train`.

    Returns:
        "classify", "lit", or whatever else the configuration says.

    Raises:
        ValueError: there is no such model, or it is none of the task.
    """
    trainer = config.get("trainer", "train")
    if config.get("train") == "inference_time":
        return "inference_time"
    if trainer not in ("train", "classify", "lit"):
        return trainer
    name = model_name(config)
    found = "lit" if name and issubclass(registry.resolve(name)[1], LiT) else "classify"
    if trainer not in ("train", found):
        kind = "a LiT" if found == "lit" else "a classifier"
        raise ValueError(f"trainer is {trainer!r}, but {name} is {kind}; leave trainer out.")
    return found
