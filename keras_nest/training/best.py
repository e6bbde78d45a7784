"""The best weights of a training, and whether it has gone on long enough without better ones."""

import json
import pathlib
from collections.abc import Mapping
from typing import Any

import keras

from keras_nest.files import atomic_output
from keras_nest.keras_private import save_weights
from keras_nest.training.checkpoints import writing
from keras_nest.training.jax_machines import readable
from keras_nest.untrusted.json_text import read_object

_RECORD = "best.json"


class Best:
    """Keeps the weights with which the model was best in an evaluation.

    The best are those with the highest score, mostly the accuracy, and of several the lowest loss. They lie beside the
    checkpoints, so that a training that goes on knows them.

    Attributes:
        record: step, score (under its name) and loss of the best evaluation; empty before the first.

    Args:
        directory: where the weights lie.
        model: whose weights they are, as it is evaluated.
        patience: steps without a better evaluation after which a training is over.
        chief: whether this process writes them.
        score: what says which are better.
    """

    def __init__(
        self,
        directory: pathlib.Path,
        model: keras.Model,
        patience: int,
        chief: bool = True,
        score: str = "accuracy",
    ) -> None:
        self._directory, self._model, self._score = directory, model, score
        self._patience, self._is_chief = patience, chief
        self.record: dict[str, Any] = self._read()

    def update(self, step: int, measured: Mapping[str, float]) -> None:
        """Keeps the weights as they are now, if they are better.

        Args:
            step: of the evaluation.
            measured: its score and loss.

        Raises:
            OSError: the disk does not take them.
        """
        if self.record and self._rank(measured) <= self._rank(self.record):
            return
        self.record = {"step": step, self._score: measured[self._score], "loss": measured["loss"]}
        if not self._is_chief:
            return
        with writing(f"The best weights in {self._directory}"):
            with atomic_output(self._file, overwrite=True) as partial, readable(self._model.weights):
                save_weights(self._model, partial)
            # Which file counts is said last, so that a record never stands beside the weights of another step.
            with atomic_output(self._directory / _RECORD, overwrite=True) as partial:
                partial.write_text(json.dumps(self.record), "utf-8")
        for path in self._directory.glob("best-*.weights.h5"):
            if path != self._file:
                path.unlink()

    def is_over(self, step: int) -> bool:
        """Whether a training has gone on long enough after the best evaluation."""
        return bool(self.record) and step - self.record["step"] >= self._patience

    def restore(self) -> None:
        """Gives the model its best weights."""
        if self.record:
            self._model.load_weights(self._file)

    @property
    def _file(self) -> pathlib.Path:
        return self._directory / f"best-{self.record['step']}.weights.h5"

    def _rank(self, measured: Mapping[str, float]) -> tuple[float, float]:
        """More is better."""
        return measured[self._score], -measured["loss"]

    def _read(self) -> dict[str, Any]:
        """What an earlier start of this training left; nothing where its weights are lost."""
        path = self._directory / _RECORD
        try:
            record = read_object(path)
            return record if (self._directory / f"best-{record['step']}.weights.h5").is_file() else {}
        except (OSError, ValueError, KeyError, TypeError):
            return {}
