"""A profile of some steps, for TensorBoard."""

import pathlib
from collections.abc import Sequence

import keras
import tensorflow as tf


class Profiler(keras.callbacks.Callback):
    """Records what host and devices do from one step to another; TensorBoard's profile plugin shows it.

    Args:
        directory: where TensorBoard looks.
        steps: first and last step, counted from 1.
        first_step: updates before this start.
    """

    def __init__(self, directory: pathlib.Path, steps: Sequence[int], first_step: int = 0) -> None:
        super().__init__()
        self._directory, (self._first, self._last) = str(directory), steps
        self._step, self._records = first_step, False

    def on_train_batch_begin(self, batch: int, logs: dict[str, float] | None = None) -> None:
        self._step += 1
        if self._step == self._first:
            tf.profiler.experimental.start(self._directory)
            self._records = True

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        if self._step == self._last:
            self._stop()

    def on_train_end(self, logs: dict[str, float] | None = None) -> None:
        self._stop()

    def _stop(self) -> None:
        if self._records:
            tf.profiler.experimental.stop()
            self._records = False
