"""Other ways to compute what layers compute, which an exporter asks for while it traces a model."""

import contextlib
import contextvars
import dataclasses
import operator
from collections.abc import Callable, Iterator
from typing import Any


@dataclasses.dataclass(frozen=True)
class Formulation:
    """How layers compute: the same numbers but for rounding. What is not the default is for inference.

    Attributes:
        rows: whether products of tokens are products of two matrices, see `keras_nest.layers.dense_general.as_rows`.
        one_projection: whether attentions compute query, key and value by one product of kernels put side by side.
        of_weights: calls a function of weights alone, such as what puts kernels side by side, and gives what it gives.
            An exporter calls it once and keeps the result, so that it costs nothing later.
        softmax: the dtype in which attentions compute it; None is that of the layer, whose runtime then shall add in
            float32 inside.
        layer_norm: (x, gamma, beta, epsilon) -> y over the last axis, of the shape and dtype of x; None is Keras' own.
    """

    rows: bool = True
    one_projection: bool = False
    of_weights: Callable[[Callable[[], Any]], Any] = operator.call
    softmax: str | None = "float32"
    layer_norm: Callable[[Any, Any, Any, float], Any] | None = None


_CURRENT = contextvars.ContextVar("formulation", default=Formulation())  # noqa: B039 (it is frozen)


def formulation() -> Formulation:
    """How layers shall compute."""
    return _CURRENT.get()


@contextlib.contextmanager
def formulated(how: Formulation) -> Iterator[None]:
    """Inside, layers of this package that are called in this thread compute so."""
    token = _CURRENT.set(how)
    try:
        yield
    finally:
        _CURRENT.reset(token)
