"""What TensorFlow shall not do to functions that it makes graphs of."""

from collections.abc import Callable
from typing import ParamSpec, TypeVar

import tensorflow as tf

_P = ParamSpec("_P")
_R = TypeVar("_R")


def as_written(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """Keeps AutoGraph from rewriting a function, and all that it calls: seconds of each start, for nothing.

    For functions that decide nothing by the values of tensors. Those of users are rewritten, and may.
    """
    return tf.autograph.experimental.do_not_convert(function)
