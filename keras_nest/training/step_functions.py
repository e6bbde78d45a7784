"""What `fit` and `evaluate` call for every `steps_per_execution` batches, on any strategy."""

import functools
import itertools
from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

import keras
import tensorflow as tf

from keras_nest.graphs import as_written
from keras_nest.layers.changes import layers_inside
from keras_nest.training.strategies import is_tpu

Step: TypeAlias = Callable[[Any], Any]
"""A batch of one replica -> metrics."""

_ITERATORS = (tf.data.Iterator, tf.distribute.DistributedIterator)


class StepFunction:
    """What runs a number of steps on all replicas.

    That of Keras fails under `MultiWorkerMirroredStrategy`, and for several steps under `MirroredStrategy`.

    Args:
        step: see above.
        strategy: on all of whose replicas it runs.
        steps: number of batches a call; of one device fewer may be left. That of a variable is exact.
        jit_compile: compile each step with XLA.
        run_eagerly: without a graph, to look at.

    Attributes:
        waited: float64 scalar, seconds for which batches had to be waited for; None where that cannot be measured.
    """

    def __init__(
        self,
        step: Step,
        strategy: tf.distribute.Strategy,
        steps: int | tf.Variable,
        jit_compile: bool,
        run_eagerly: bool,
    ) -> None:
        self._step = tf.function(step, jit_compile=True, autograph=False) if jit_compile else step
        self._strategy, self._steps = strategy, steps
        self.on_iterator, self.on_batch = self._on_iterator, self._on_batch
        if not run_eagerly:
            self.on_iterator = tf.function(self._on_iterator, reduce_retracing=True)
            self.on_batch = tf.function(self._on_batch, reduce_retracing=True, autograph=False)
        # Of one device; of several, the iterators have threads of their own.
        measures = strategy.num_replicas_in_sync == 1 and not run_eagerly and not is_tpu(strategy)
        with tf.device("CPU:0"):
            self.waited = tf.Variable(0.0, trainable=False, dtype=tf.float64) if measures else None

    def __call__(self, batches: Iterable[Any]) -> Any:
        """Metrics after the last of the batches; those of an iterator of TensorFlow are read inside of the graph."""
        if isinstance(batches, _ITERATORS):
            return self.on_iterator(batches)
        outputs = None
        for batch in itertools.islice(batches, int(self._steps)):
            outputs = self.on_batch(as_tensors(batch))
        return outputs

    def _on_iterator(self, iterator: Any) -> Any:
        outputs = self._run(self._next(functools.partial(next, iterator)))
        if isinstance(self._steps, tf.Variable) or (self._steps > 1 and self._strategy.num_replicas_in_sync > 1):
            # A sum over replicas cannot stand in a condition.
            for _ in tf.range(self._steps - 1):
                outputs = self._run(self._next(functools.partial(next, iterator)))
        elif self._steps > 1:
            for _ in tf.range(self._steps - 1):
                batch = self._next(iterator.get_next_as_optional)
                if not batch.has_value():
                    break
                outputs = self._run(batch.get_value())
        return self._reduce(outputs)

    @as_written
    def _next(self, get_next: Callable[[], Any]) -> Any:
        """The next batch; how long it had to be waited for is added up."""
        if self.waited is None:
            return get_next()
        start = tf.timestamp()
        with tf.control_dependencies([start]):
            batch = get_next()
        there = [part for part in tf.nest.flatten(batch, expand_composites=True) if tf.is_tensor(part)]
        with tf.control_dependencies(there):
            self.waited.assign_add(tf.timestamp() - start)
        return batch

    def _on_batch(self, batch: Any) -> Any:
        return self._reduce(self._run(batch))

    @as_written
    def _run(self, batch: Any) -> Any:
        return self._strategy.run(self._step, args=(batch,))

    @as_written
    def _reduce(self, outputs: Any) -> Any:
        mean = functools.partial(self._strategy.reduce, tf.distribute.ReduceOp.MEAN, axis=None)
        return tf.nest.map_structure(mean, outputs)


def as_tensors(batch: Any) -> Any:
    """A batch of arrays as tensors; None stays None."""
    return tf.nest.map_structure(lambda values: None if values is None else tf.convert_to_tensor(values), batch)


def first_spec(strategy: tf.distribute.Strategy, batches: Iterable[Any]) -> tuple[Iterable[Any], Any]:
    """What the first batch will be.

    Args:
        strategy: that of the batches.
        batches: as a step function takes them.

    Returns:
        The same batches, and specifications of what one replica gets of each.
    """
    if not isinstance(batches, _ITERATORS):
        batches = list(batches)
        return batches, _specs(as_tensors(batches[0]))
    found = []

    def look(batch: Any) -> tf.Tensor:
        found.append(_specs(batch))
        return tf.constant(0)

    # A TPU names a part of the graph after it, so that it cannot be a lambda.
    def look_at_next(iterator: Any) -> Any:
        return strategy.run(look, args=(next(iterator),))

    # Looked at, and never run: no batch is lost.
    tf.function(look_at_next, autograph=False).get_concrete_function(batches)
    return batches, found[0]


def _specs(batch: Any) -> Any:
    return tf.nest.map_structure(lambda values: None if values is None else tf.type_spec_from_value(values), batch)


class Symbolic(keras.Operation):
    """A function as an operation of Keras, to call on symbolic tensors: so it makes its variables, and nothing runs.

    Args:
        function: of tensors, perhaps nested.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self._function = function

    def call(self, *arguments: Any) -> Any:
        return self._function(*arguments)


def symbols(specs: Any) -> Any:
    """Specifications of TensorFlow as symbolic tensors of Keras; None stays None."""
    return tf.nest.map_structure(_symbol, specs)


def _symbol(spec: Any) -> keras.KerasTensor | None:
    return None if spec is None else keras.KerasTensor(spec.shape, spec.dtype.name)


def symbolic_output(model: keras.Model, inputs: Any) -> Any:
    """The output of a model as symbolic tensors.

    Args:
        model: of any kind.
        inputs: specifications of its input, for those that are not functional.
    """
    if not getattr(model, "outputs", None):
        return model.compute_output_spec(symbols(inputs), training=False)
    # A Sequential has an `output` of its own only after a symbolic call.
    return model.outputs[0] if isinstance(model, keras.Sequential) else model.output


def share_statistics(model: keras.Model) -> None:
    """Gives all replicas the mean of the statistics of batch normalization; for use inside a step.

    Keras keeps those of each replica, evaluates with its own and stores those of the first.
    """
    if tf.distribute.get_strategy().num_replicas_in_sync == 1:
        return
    layers = (layer for layer in layers_inside(model) if isinstance(layer, keras.layers.BatchNormalization))
    kept = [(layer.moving_mean.value, layer.moving_variance.value) for layer in layers if layer.trainable]
    for variable in (variable for pair in kept for variable in pair):
        context = tf.distribute.get_replica_context()
        variable.assign(context.all_reduce(tf.distribute.ReduceOp.MEAN, tf.identity(variable)))
