"""The state of a training on disk, from which it goes on as if nothing had happened."""

import pathlib
import tempfile
from typing import Protocol

import tensorflow as tf

from keras_nest import files

KEPT = 2
"""The last checkpoints that are kept: the newest, and the one before it."""


# What TensorFlow writes beside and then renames: a checkpoint, and the list of them.
_PARTIAL = ("*_temp", "checkpoint.tmp*")


class UnreadableError(OSError):
    """None of the checkpoints of a training can be read."""


def remove_partial(directory: pathlib.Path) -> None:
    """Removes what processes that were killed left of checkpoints in a directory; none may be at work there."""
    for pattern in _PARTIAL:
        files.remove_partial(directory, pattern)


class Stateful(Protocol):
    """What can be saved and restored."""

    @property
    def state(self) -> dict[str, list[tf.Variable]]:
        """Variables by kind."""


class Checkpoints:
    """Checkpoints of a trainer: weights, statistics, random states, and all that the optimiser remembers.

    Keras' own files leave out the random states, and its callback repeats data. TensorFlow writes beside and renames,
    so that a checkpoint is complete or absent.

    Args:
        directory: where they lie, the same for all machines.
        trainer: compiled.
        chief: whether this process writes them; the others take part and throw theirs away.
    """

    def __init__(self, directory: pathlib.Path, trainer: Stateful, chief: bool = True) -> None:
        self._directory = directory
        self._checkpoint = tf.train.Checkpoint(**trainer.state)
        self._manager = tf.train.CheckpointManager(self._checkpoint, str(directory), KEPT)
        self._is_chief = chief

    def save(self, step: int) -> None:
        """Writes the state after an update."""
        if self._is_chief:
            self._manager.save(checkpoint_number=step)
            return
        with tempfile.TemporaryDirectory() as unused:
            self._checkpoint.write(f"{unused}/ckpt")

    def restore(self) -> int:
        """Takes up the newest state that can be read.

        Returns:
            The number of updates before it; 0 if there is none.

        Raises:
            UnreadableError: all are damaged.
        """
        known = tf.train.get_checkpoint_state(str(self._directory))
        paths = list(reversed(known.all_model_checkpoint_paths)) if known else []
        for path in paths:
            try:
                self._checkpoint.restore(path).assert_consumed()
            except (tf.errors.OpError, IndexError):
                print(f"The checkpoint {path} is damaged; the one before it is tried.", flush=True)
            else:
                return int(path.rsplit("-", 1)[1])
        if paths:
            raise UnreadableError(f"No checkpoint in {self._directory} can be read; --overwrite starts anew.")
        return 0

    @property
    def newest(self) -> str | None:
        """The newest checkpoint, as TensorFlow names it; None without one."""
        return tf.train.latest_checkpoint(str(self._directory))
