"""Sums over the replicas of a strategy, and conditions around updates; for use inside a train step."""

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf


def replicas() -> int:
    """Number of replicas of the strategy that is in scope."""
    return tf.distribute.get_strategy().num_replicas_in_sync


def sum_over_replicas(values: Sequence[Any]) -> list[Any]:
    """Sums tensors over all replicas; for use inside a step. None stays None."""
    context = tf.distribute.get_replica_context()
    if replicas() == 1 or context is None:
        return list(values)
    summed = iter(context.all_reduce(tf.distribute.ReduceOp.SUM, [value for value in values if value is not None]))
    return [None if value is None else next(summed) for value in values]


def divide_among_replicas(values: Sequence[Any]) -> list[Any]:
    """Shares of tensors whose sum over all replicas they are."""
    return [value if value is None or replicas() == 1 else value / replicas() for value in values]


def dense(gradient: Any) -> Any:
    """That of an embedding is a list of rows, of which norms take repeated ones for different rows."""
    return tf.convert_to_tensor(gradient) if isinstance(gradient, tf.IndexedSlices) else gradient


def with_all_replicas(function: Callable[..., None], values: Sequence[Any]) -> None:
    """Calls a function of (strategy, value of all replicas, …) once for all, where it may hold a condition.

    TPUs have no such place, and need none.
    """
    strategy = tf.distribute.get_strategy()
    if isinstance(strategy, tf.distribute.TPUStrategy):
        function(strategy, *values)
    else:
        tf.distribute.get_replica_context().merge_call(function, args=tuple(values))


def in_each_replica(
    strategy: tf.distribute.Strategy, function: Callable[..., None], values: Sequence[Any] = ()
) -> None:
    """Calls a function on every replica, from wherever `with_all_replicas` is.

    Args:
        strategy: as `with_all_replicas` gives it.
        function: takes the values.
        values: likewise; perhaps nested, each replica gets its own.
    """
    if tf.distribute.in_cross_replica_context():
        strategy.extended.call_for_each_replica(function, args=tuple(values))
    else:
        function(*values)
