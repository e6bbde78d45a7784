"""Files of weights that a training goes on from: those of the model, and beside them what the optimizer remembers."""

import contextlib
import os
import warnings
from collections.abc import Iterator
from typing import Any

import h5py
import keras

_SWAPPED = "averages_in_place"


def save_weights(
    model: keras.Model, optimizer: keras.optimizers.Optimizer | None, swapped: bool, path: Any, **options: Any
) -> None:
    """Writes a file as Keras writes that of a compiled model, which any model of the kind reads.

    Args:
        model: not compiled itself.
        optimizer: trains it.
        swapped: the averages of the weights are in the model, and the weights in their place in the optimizer.
        path: ….weights.h5.
        **options: of `keras.Model.save_weights`.

    Raises:
        ValueError: the path is of another kind.
    """
    if optimizer is None:
        model.save_weights(path, **options)
        return
    if not _is_one_file(path) or options.get("max_shard_size") is not None:
        raise ValueError(
            f"A Trainer saves its weights and its optimizer in one file ….weights.h5, not in {os.fspath(path)!r}; "
            "trainer.model.save_weights writes other files, without the optimizer."
        )
    with _attached(model, optimizer):
        model.save_weights(path, **options)
    with h5py.File(path, "a") as file:
        file.attrs[_SWAPPED] = swapped


def load_weights(
    model: keras.Model, optimizer: keras.optimizers.Optimizer | None, path: Any, *arguments: Any, **options: Any
) -> tuple[bool, bool]:
    """Reads a file of weights, and the optimizer's state if it is there.

    Args:
        model: of the kind that was saved.
        optimizer: built for it.
        path: of the file.
        *arguments: of `keras.Model.load_weights`.
        **options: likewise.

    Returns:
        Whether the optimizer was there, and whether the averages are in the model, as it was saved.
    """
    with_state = swapped = False
    if optimizer is not None and _is_one_file(path):
        with h5py.File(path) as file:
            with_state, swapped = _fits(file, optimizer), bool(file.attrs.get(_SWAPPED, False))
    with _attached(model, optimizer) if with_state else contextlib.nullcontext():
        model.load_weights(path, *arguments, **options)
    return with_state, swapped


def _fits(file: h5py.File, optimizer: keras.optimizers.Optimizer) -> bool:
    """Whether a file has the state of such an optimizer; warns of that of another one."""
    if "optimizer" not in file:
        return False
    shapes = [
        tuple(values.shape) for _, values in sorted(file["optimizer/vars"].items(), key=lambda item: int(item[0]))
    ]
    if shapes == [tuple(variable.shape) for variable in optimizer.variables]:
        return True
    warnings.warn(
        f"{file.filename} has the state of another optimizer than {type(optimizer).__name__}, or for other weights; "
        "the weights are loaded, and the optimizer stays as it is.",
        stacklevel=2,
    )
    return False


def _is_one_file(path: Any) -> bool:
    return os.fspath(path).endswith(".weights.h5")


@contextlib.contextmanager
def _attached(model: keras.Model, optimizer: Any) -> Iterator[None]:
    """Keras stores the optimizer of a model that has one, and knows it by this attribute."""
    before = getattr(model, "optimizer", None)
    model.optimizer = optimizer
    try:
        yield
    finally:
        model.optimizer = before
