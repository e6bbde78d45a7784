"""The average of the weights over a training, beside the weights themselves."""

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import keras
from keras import ops


def get_averages(optimizer: keras.optimizers.Optimizer) -> list[keras.Variable]:
    """The averages that a built optimizer keeps, in the order of the weights it trains; none without `use_ema`."""
    while inner := getattr(optimizer, "inner_optimizer", None):
        optimizer = inner
    if not optimizer.use_ema:
        return []
    return [variable for variable in optimizer.variables if variable.path.endswith("_average")]


def copy_averages(model: keras.Model, optimizer: keras.optimizers.Optimizer, averaged: keras.Model) -> None:
    """Gives a model the averages that the optimizer of another one keeps, and what is not trained as it is.

    Args:
        model: the model that is trained.
        optimizer: its optimizer, with `use_ema=True`.
        averaged: a model of the same kind, which is changed.
    """
    # Not by path, which layers of two towers share.
    trained = map(id, model.trainable_variables)
    averages = dict(zip(trained, get_averages(optimizer), strict=True))
    for source, target in zip(model.weights, averaged.weights, strict=True):
        # JAX gives away what a step got, and with it whatever else is the same array.
        target.assign(ops.copy(averages.get(id(source), source).value))


class Averages:
    """The averages that an optimizer keeps of the weights it trains, and which of the two are in the model.

    Args:
        optimizer: built; without one, or without `use_ema`, nothing here does anything.
        trained: the weights that it trains, in its order.
    """

    def __init__(
        self, optimizer: keras.optimizers.Optimizer | None = None, trained: Sequence[keras.Variable] = ()
    ) -> None:
        averages = get_averages(optimizer) if optimizer else []
        self._pairs = list(zip(trained, averages, strict=True)) if averages else []
        self._is_training = self.are_in_place = False
        # Keras begins with zeros, and after a training without steps puts them into the model.
        self.begin_anew()

    def __bool__(self) -> bool:
        return bool(self._pairs)

    def begin_anew(self) -> None:
        """Makes the weights as they are the averages."""
        for weight, average in self._pairs:
            average.assign(ops.copy(weight.value))

    def swap(self) -> None:
        """Lets weights and averages change places."""
        for weight, average in self._pairs:
            kept = ops.copy(weight.value)
            weight.assign(ops.copy(average.value))
            average.assign(kept)

    @contextlib.contextmanager
    def training(self) -> Iterator[None]:
        """While Keras trains, which puts the averages into the model at the end; so does what breaks it off."""
        self._is_training = True
        try:
            yield
        except BaseException:
            for weight, average in self._pairs:
                weight.assign(ops.copy(average.value))
            raise
        else:
            # Equal already; on JAX they are even the same arrays, which no step may be given twice.
            self.begin_anew()
        finally:
            self._is_training = False

    @contextlib.contextmanager
    def in_place(self) -> Iterator[None]:
        """In a training, puts the averages into the model while the block runs; after it they are there anyway."""
        if not self._is_training or self.are_in_place:
            yield
            return
        self.swap()
        self.are_in_place = True
        try:
            yield
        finally:
            self.are_in_place = False
            self.swap()


def without_swapping(callbacks: Any) -> Any:
    """Callbacks of `fit` but for `SwapEMAWeights`, of one, of a list, or of a `CallbackList`."""
    if isinstance(callbacks, keras.callbacks.CallbackList):
        callbacks.callbacks = without_swapping(callbacks.callbacks)
        return callbacks
    given = callbacks if isinstance(callbacks, (list, tuple)) else [callbacks] if callbacks else []
    return [one for one in given if not isinstance(one, keras.callbacks.SwapEMAWeights)]
