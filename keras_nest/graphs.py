"""Functions as graphs of TensorFlow: what becomes one, and what it shall not do to them."""

from collections.abc import Callable, Sequence
from typing import Any, ParamSpec, TypeVar

import tensorflow as tf

from keras_nest.backends import on_tensorflow

_P = ParamSpec("_P")
_R = TypeVar("_R")


def as_written(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """Keeps AutoGraph from rewriting a function, and all that it calls: seconds of each start, for nothing.

    For functions that decide nothing by the values of tensors. Those of users are rewritten, and may.
    """
    return tf.autograph.experimental.do_not_convert(function)


def compiled(function: Callable[..., Any], inputs: Sequence[tf.TensorSpec]) -> Callable[..., tf.Tensor]:
    """A function of a model as a graph of TensorFlow; where Keras runs on another backend, it is called as it is.

    Args:
        function: of tensors, to one.
        inputs: with an open batch, so that it is traced once, whoever calls it first.
    """
    if on_tensorflow():
        return tf.function(function, input_signature=inputs)
    return lambda *tensors: tf.convert_to_tensor(function(*tensors))
