"""The state of a training on disk, from which it goes on as if nothing had happened."""

import pathlib
import tempfile

import tensorflow as tf

from keras_nest.training.trainer import Trainer

KEPT = 2
"""The last checkpoints that are kept: the newest, and the one before it."""


class Checkpoints:
    """Checkpoints of a trainer: weights, statistics, random states, and all that the optimiser remembers.

    Keras' own files leave out the random states, and its callback repeats data. TensorFlow writes beside and renames,
    so that a checkpoint is complete or absent.

    Args:
        directory: where they lie, the same for all machines.
        trainer: compiled.
        chief: whether this process writes them; the others take part and throw theirs away.
    """

    def __init__(self, directory: pathlib.Path, trainer: Trainer, chief: bool = True) -> None:
        self._directory = directory
        variables = {
            "model": [variable.value for variable in trainer.model.variables],
            "optimizer": [variable.value for variable in trainer.optimizer.variables],
        }
        self._checkpoint = tf.train.Checkpoint(**variables)
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
        """Takes up the newest state.

        Returns:
            The number of updates before it; 0 if there is none.
        """
        newest = self.newest
        if newest is None:
            return 0
        self._checkpoint.restore(newest).assert_consumed()
        return int(newest.rsplit("-", 1)[1])

    @property
    def newest(self) -> str | None:
        """The newest checkpoint, as TensorFlow names it; None without one."""
        return tf.train.latest_checkpoint(str(self._directory))
