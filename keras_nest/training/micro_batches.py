"""Gradients of a replica's batch: at once, in micro-batches that save memory, or where the loss is higher nearby."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeAlias

import keras
import tensorflow as tf
from keras import ops

from keras_nest.training.sharpness import SharpnessAware


class Batch(NamedTuple):
    """What a replica trains on: inputs (B, …), targets (B, …) and sample weights (B,), each perhaps nested or None."""

    images: Any
    labels: Any
    weights: Any = None


GradientsOf: TypeAlias = Callable[[Batch, bool], list[tf.Tensor]]
"""(batch, whether metrics count it) -> gradients of its mean loss."""


def accumulated_gradients(
    gradients_of: GradientsOf, variables: Sequence[tf.Variable], batch: Batch, steps: int, measured: bool
) -> list[tf.Tensor]:
    """Mean gradient of micro-batches that go through the model one after the other.

    Args:
        gradients_of: see above.
        variables: what the gradients are of.
        batch: of one replica.
        steps: number of micro-batches.
        measured: whether metrics count the batch.

    Raises:
        ValueError: the batch cannot be divided.
    """
    if steps == 1:
        return gradients_of(batch, measured)
    parts = tf.nest.map_structure(lambda values: None if values is None else _divide(values, steps), batch)

    def add_part(index: tf.Tensor, *total: tf.Tensor) -> tuple[tf.Tensor, ...]:
        part = tf.nest.map_structure(lambda values: None if values is None else values[index], parts)
        gradients = gradients_of(part, measured)
        return (index + 1, *(a + b / steps for a, b in zip(total, gradients, strict=True)))

    # A loop, not copies of the model side by side, which would run at the same time and save no memory.
    start = (0, *map(tf.zeros_like, variables))
    _, *total = tf.while_loop(lambda index, *_: index < steps, add_part, start, parallel_iterations=1)
    return total


def sharp_gradients(
    sharpness: SharpnessAware,
    gradients: Callable[[bool], list[tf.Tensor]],
    variables: Sequence[tf.Variable],
    state: Sequence[tf.Variable],
    rate: Any,
) -> list[tf.Tensor]:
    """Gradients where the loss is higher nearby.

    Args:
        sharpness: says where.
        gradients: whether metrics count it -> gradients of a batch at the weights as they are then.
        variables: what the gradients are of.
        state: random states and statistics, of which both passes start.
        rate: learning rate of the update.
    """
    before = [tf.identity(variable) for variable in state]
    clean = gradients(True)

    def again() -> list[tf.Tensor]:
        # Layers draw the same masks, and statistics are updated once.
        for variable, value in zip(state, before, strict=True):
            variable.assign(value)
        return gradients(False)

    return sharpness.gradients(clean, list(variables), again, rate)


def count_images(outputs: Any) -> Any:
    """Number of images that a model's output, perhaps nested, is of: scalar int32, or an int where it is fixed."""
    return ops.shape(keras.tree.flatten(outputs)[0])[0]


def _divide(values: tf.Tensor, steps: int) -> tf.Tensor:
    """(B, …) -> (steps, B / steps, …)."""
    if values.shape[0] is not None and values.shape[0] % steps:
        raise ValueError(f"A replica's batch of {values.shape[0]} images cannot be divided by accum_steps, {steps}.")
    message = f"A replica's batch cannot be divided by accum_steps, {steps}; drop what is left over:"
    size = tf.shape(values)[0]
    # Known only inside a graph, which might reshape first.
    checks = [] if values.shape[0] else [tf.debugging.Assert(size % steps == 0, [message, size])]
    with tf.control_dependencies(checks):
        return tf.reshape(values, (steps, -1, *values.shape[1:]))
