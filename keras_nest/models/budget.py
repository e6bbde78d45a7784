"""Models that files describe are built only as large as the weights that come with them."""

import contextlib
import contextvars
import math
import threading
from collections.abc import Iterator
from typing import Any

import keras

from keras_nest.untrusted.limits import SPARE, ClaimError

_LEFT: contextvars.ContextVar[int | None] = contextvars.ContextVar("_LEFT", default=None)
# One file at a time, since what all layers call is something else meanwhile.
_LOCK = threading.RLock()
_add_weight = keras.layers.Layer.add_weight


@contextlib.contextmanager
def weights_within(length: int) -> Iterator[None]:
    """Refuses layers in the block whose weights take more memory than a file can hold, before any is taken for them.

    Keras fills the variables of a model that a file describes with random numbers before it looks for their values.

    Args:
        length: of the file in bytes; twice as many may be built, and some for small files.

    Raises:
        ClaimError: in the block.
    """
    with _LOCK:
        token, before = _LEFT.set(2 * length + SPARE), keras.layers.Layer.add_weight
        keras.layers.Layer.add_weight = _counted
        try:
            yield
        finally:
            keras.layers.Layer.add_weight = before
            _LEFT.reset(token)


def _counted(layer: keras.layers.Layer, *args: Any, **kwargs: Any) -> Any:
    # Other threads may build models that they describe themselves.
    if (left := _LEFT.get()) is not None:
        shape, dtype = kwargs.get("shape") or (), kwargs.get("dtype") or layer.variable_dtype
        left -= math.prod(shape) * _bytes(str(dtype))
        if left < 0:
            raise ClaimError("it describes a model that is larger than the weights in it")
        _LEFT.set(left)
    return _add_weight(layer, *args, **kwargs)


def _bytes(dtype: str) -> int:
    return next((size for bits, size in (("8", 1), ("16", 2), ("64", 8)) if dtype.endswith(bits)), 4)
