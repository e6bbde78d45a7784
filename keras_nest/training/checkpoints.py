"""Resumable checkpoints: weights, statistics, optimizer state and random states; complete or absent."""

import contextlib
import json
import pathlib
import re
import tempfile
from collections.abc import Iterator, Mapping
from typing import Any, Protocol

import keras
import tensorflow as tf

from keras_nest import files, mirror
from keras_nest.backends import on_tensorflow
from keras_nest.training.jax_machines import readable
from keras_nest.untrusted.json_text import read_object

KEPT = 2
"""The last checkpoints that are kept: the newest, and the one before it."""

LIST = "checkpoint"
"""File with the names of the checkpoints, for TensorFlow's own tools; never read here, since it may be lost."""

UNFINISHED = "row-"
"""Begins the name of a file with what was measured of a row of the history, beside a checkpoint inside that row."""

# Of an `atomic_output`, and what TensorFlow itself writes beside and then renames.
_PARTIAL = (".partial-*", "*_temp", "checkpoint.tmp*")


class UnreadableError(OSError):
    """None of the checkpoints of a training can be read."""


class OtherModelError(ValueError):
    """A checkpoint is whole, and not of this model."""


def remove_partial(directory: pathlib.Path) -> None:
    """Removes what processes that were killed left of checkpoints in a directory; none may be at work there."""
    for pattern in _PARTIAL:
        files.remove_partial(directory, pattern)


def saved_steps(directory: pathlib.Path) -> list[int]:
    """The steps after which checkpoints were written that lie in a directory, in rising order; it need not exist."""
    return _steps(directory, "index")


@contextlib.contextmanager
def writing(what: str) -> Iterator[None]:
    """Tells in a sentence what cannot be written, and why.

    Args:
        what: is written in the block.

    Raises:
        OSError: the disk does not take it.
    """
    try:
        yield
    except (tf.errors.OpError, OSError) as error:
        # TensorFlow says an operation and a path before what is wrong, and the operation again after it.
        told = re.sub(r"^.*(; |cannot be written: )| \[Op:.*$", "", str(error).splitlines()[0])
        reason = getattr(error, "strerror", None) or told.rstrip(".")
        raise OSError(f"{what} cannot be written: {reason}.") from error


class Stateful(Protocol):
    """What can be saved and restored."""

    @property
    def state(self) -> dict[str, list[keras.Variable]]:
        """Variables by kind."""


class Checkpoints:
    """Checkpoints of a trainer: weights, statistics, random states, and all that the optimizer remembers.

    Keras' own files leave out the random states, and its callback repeats data. What lies in the directory counts, and
    no list of it; a checkpoint is written beside, and is on the disk before its index is renamed into place and an
    older one goes. They are TensorFlow's on every backend of Keras, so that a training of one goes on on another.

    Args:
        directory: where they lie, the same for all machines.
        trainer: compiled.
        chief: whether this process writes them; the others take part and throw theirs away.
    """

    def __init__(self, directory: pathlib.Path, trainer: Stateful, chief: bool = True) -> None:
        self._directory = directory
        self._variables = [variable for group in trainer.state.values() for variable in group]
        tensors = {kind: list(map(_tensor, group)) for kind, group in trainer.state.items()}
        self._tensors = [tensor for group in tensors.values() for tensor in group]
        self._checkpoint = tf.train.Checkpoint(**tensors)
        # `restore` expects it in the file.
        self._counter = self._checkpoint.save_counter
        self._is_chief = chief

    def save(self, step: int, row: Mapping[str, Any] | None = None) -> None:
        """Writes the state after an update.

        Args:
            step: updates so far.
            row: what was measured of a row of the history that has not ended yet; None after one that has.

        Raises:
            OSError: the disk does not take it; those before it are left as they were.
        """
        if not on_tensorflow():
            with readable(self._variables):
                for variable, tensor in zip(self._variables, self._tensors, strict=True):
                    tensor.assign(keras.ops.convert_to_numpy(variable.value))
        if not self._is_chief:
            with tempfile.TemporaryDirectory() as unused:
                self._checkpoint.write(f"{unused}/ckpt")
            return
        self._row(step).unlink(missing_ok=True)
        if row is not None:
            with (
                writing(f"The checkpoint of step {step} in {self._directory}"),
                files.atomic_output(self._row(step)) as partial,
            ):
                partial.write_text(json.dumps(row), "utf-8")
        self._write(step)
        # Later ones could not be read, or this training would be there.
        kept = [number for number in saved_steps(self._directory) if number <= step][-KEPT:]
        names = ["model_checkpoint_path", *["all_model_checkpoint_paths"] * len(kept)]
        lines = (f'{name}: "ckpt-{number}"\n' for name, number in zip(names, [step, *kept], strict=True))
        with files.atomic_output(self._directory / LIST, overwrite=True) as partial:
            partial.write_text("".join(lines), "utf-8")
        for number in saved_steps(self._directory):
            if number < kept[0]:
                self._remove(number)
        mirror.push(self._directory.parent)

    def restore(self) -> int:
        """Takes up the newest state that can be read.

        Returns:
            The number of updates before it; 0 if there is none.

        Raises:
            UnreadableError: all are damaged.
            OtherModelError: the newest that can be read is of another model.
        """
        # One without its index was never complete, or has lost it.
        for step in reversed(_steps(self._directory, r"(index|data-\d+-of-\d+)")):
            path = self._directory / f"ckpt-{step}"
            try:
                self._checkpoint.restore(str(path)).assert_consumed()
            except (tf.errors.OpError, IndexError):
                print(f"The checkpoint {path} is damaged; the one before it is tried.", flush=True)
            except (ValueError, AssertionError) as error:
                raise OtherModelError(
                    f"The checkpoint {path} is of another model ({str(error).splitlines()[0].rstrip('.')}); "
                    "--overwrite starts anew."
                ) from error
            else:
                self._take_up()
                return step
        if saved_steps(self._directory):
            raise UnreadableError(f"No checkpoint in {self._directory} can be read; --overwrite starts anew.")
        return 0

    def _take_up(self) -> None:
        """Gives the variables what was restored, where TensorFlow's are not theirs."""
        if not on_tensorflow():
            for variable, tensor in zip(self._variables, self._tensors, strict=True):
                variable.assign(tensor.numpy())

    def row(self, step: int) -> dict[str, Any] | None:
        """What `save` was given of a row that had not ended; None without one, or where it is damaged."""
        try:
            return read_object(self._row(step))
        except (OSError, ValueError):
            return None

    def drop_row(self, step: int) -> None:
        """Forgets what `row` returns, since that row has ended."""
        if self._is_chief:
            self._row(step).unlink(missing_ok=True)

    def _row(self, step: int) -> pathlib.Path:
        return self._directory / f"{UNFINISHED}{step}.json"

    @property
    def newest(self) -> str | None:
        """The newest checkpoint, as TensorFlow names it; None without one."""
        steps = saved_steps(self._directory)
        return str(self._directory / f"ckpt-{steps[-1]}") if steps else None

    def _write(self, step: int) -> None:
        """Writes a checkpoint beside; its files are renamed into place, that without which it is none at last."""
        partial = self._directory / f".partial-ckpt-{step}"
        try:
            with writing(f"The checkpoint of step {step} in {self._directory}"):
                self._directory.mkdir(parents=True, exist_ok=True)
                self._checkpoint.write(str(partial))
                written = sorted(self._directory.glob(f"{partial.name}.*"), key=lambda path: path.suffix == ".index")
                files.flush(*written)
                for path in written:
                    path.replace(path.with_name(path.name.removeprefix(".partial-")))
                files.flush(self._directory, self._directory.parent)
        except OSError:
            remove_partial(self._directory)
            raise

    def _remove(self, step: int) -> None:
        # Its index first, without which the rest is none.
        for path in sorted(self._directory.glob(f"ckpt-{step}.*"), key=lambda path: path.suffix != ".index"):
            path.unlink()
        self._row(step).unlink(missing_ok=True)


def _tensor(variable: keras.Variable) -> tf.Variable:
    """The variable of TensorFlow behind one of Keras; where there is none, one in its place, as it would be there."""
    if on_tensorflow():
        return variable.value
    # Counters and random states have 64 bits there.
    dtype = "int64" if variable.dtype in ("int32", "uint32") else variable.dtype
    return tf.Variable(tf.zeros(variable.shape, dtype), trainable=False)


def _steps(directory: pathlib.Path, kind: str) -> list[int]:
    """Numbers of the checkpoints of which a file of a kind is there, a regular expression; rising."""
    names = (re.fullmatch(rf"ckpt-(\d+)\.{kind}", path.name) for path in directory.glob("ckpt-*"))
    return sorted({int(name[1]) for name in names if name})
