"""A train step on JAX as the program that XLA compiles for a TPU; Keras runs on JAX where this is imported."""

from collections.abc import Iterator
from typing import Any

import jax
import jax.export
import tensorflow as tf

from keras_nest.training import Trainer


def program(trainer: Trainer, batch: Any) -> bytes:
    """StableHLO of the train step, serialized.

    Args:
        trainer: compiled.
        batch: images and labels.
    """
    step = jax.export.export(jax.jit(trainer.train_step, donate_argnums=0), platforms=["tpu"])
    return step(*_arguments(trainer, batch)).mlir_module_serialized


def _arguments(trainer: Trainer, batch: Any) -> tuple[Any, Any]:
    """What `fit` hands to a step: the state of the model, the optimizer and the metrics, and a batch; shapes alone."""
    found: list[tuple[Any, Any]] = []

    def step(state: Any, batches: Iterator[Any]) -> tuple[dict[str, Any], Any]:
        found.append(jax.tree.map(_shape, (state, next(batches))))
        return {}, state

    def make_train_function(force: bool = False) -> None:
        trainer.train_function = step

    trainer.make_train_function = make_train_function  # type: ignore[method-assign]
    trainer.fit(tf.data.Dataset.from_tensors(batch), shuffle=False, verbose=0)
    return found[0]


def _shape(array: jax.Array) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(array.shape, array.dtype, sharding=getattr(array, "sharding", None))
