"""Files of weights that a training goes on from: those of the model, and beside them what the optimiser remembers."""

import contextlib
import os
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
        swapped: the averages of the weights are in the model, and the weights in their place in the optimiser.
        path: ….weights.h5; in files of other kinds the optimiser is left out.
        **options: of `keras.Model.save_weights`.
    """
    if optimizer is None or not _is_one_file(path):
        model.save_weights(path, **options)
        return
    with _attached(model, optimizer):
        model.save_weights(path, **options)
    with h5py.File(path, "a") as file:
        file.attrs[_SWAPPED] = swapped


def load_weights(
    model: keras.Model, optimizer: keras.optimizers.Optimizer | None, path: Any, *arguments: Any, **options: Any
) -> tuple[bool, bool]:
    """Reads a file of weights, and the optimiser's state if it is there.

    Args:
        model: of the kind that was saved.
        optimizer: built for it.
        path: of the file.
        *arguments: of `keras.Model.load_weights`.
        **options: likewise.

    Returns:
        Whether the optimiser was there, and whether the averages are in the model, as it was saved.
    """
    with_state = swapped = False
    if optimizer is not None and _is_one_file(path):
        with h5py.File(path) as file:
            with_state, swapped = "optimizer" in file, bool(file.attrs.get(_SWAPPED, False))
    with _attached(model, optimizer) if with_state else contextlib.nullcontext():
        model.load_weights(path, *arguments, **options)
    return with_state, swapped


def _is_one_file(path: Any) -> bool:
    return os.fspath(path).endswith(".weights.h5")


@contextlib.contextmanager
def _attached(model: keras.Model, optimizer: Any) -> Iterator[None]:
    """Keras stores the optimiser of a model that has one, and knows it by this attribute."""
    before = getattr(model, "optimizer", None)
    model.optimizer = optimizer
    try:
        yield
    finally:
        model.optimizer = before
