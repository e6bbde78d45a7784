"""Other ways to compute what layers compute, which an exporter asks for while it traces a model."""

import contextlib
import contextvars
import dataclasses
from collections.abc import Callable, Iterator
from typing import Any


@dataclasses.dataclass(frozen=True)
class Formulation:
    """What layers compute otherwise: the same numbers but for rounding, for inference.

    Attentions compute query, key and value by one product of kernels put side by side: what puts them together costs
    time unless the weights are constants. The softmax runs in the precision of the layer: its runtime shall add in
    float32 inside.

    Attributes:
        layer_norm: (x, gamma, beta, epsilon) -> y over the last axis, of the shape and dtype of x.
    """

    layer_norm: Callable[[Any, Any, Any, float], Any]


_CURRENT: contextvars.ContextVar[Formulation | None] = contextvars.ContextVar("formulation", default=None)


def formulation() -> Formulation | None:
    """How layers shall compute; None is their own way."""
    return _CURRENT.get()


@contextlib.contextmanager
def formulated(how: Formulation) -> Iterator[None]:
    """Inside, layers of this package that are called in this thread compute so."""
    token = _CURRENT.set(how)
    try:
        yield
    finally:
        _CURRENT.reset(token)
