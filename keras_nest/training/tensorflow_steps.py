"""The steps of a `Trainer` on TensorFlow, under any `tf.distribute` strategy."""

from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

import keras
import tensorflow as tf

from keras_nest.training.distributed_optimizer import DistributedUpdates
from keras_nest.training.loss_scaling import LossScaleOptimizer
from keras_nest.training.micro_batches import Batch, accumulated_gradients, sharp_gradients
from keras_nest.training.model_around import ModelAround
from keras_nest.training.replicas import divide_among_replicas, replicas, sum_over_replicas
from keras_nest.training.sharpness import SharpnessAware
from keras_nest.training.step_functions import (
    StepFunction,
    Symbolic,
    first_spec,
    share_statistics,
    symbolic_output,
    symbols,
)
from keras_nest.training.strategies import is_tpu

Prepare: TypeAlias = Callable[[Any, tf.Tensor], tuple[tf.Tensor, tf.Tensor]]
"""What the train step does first: images and labels as they traveled -> as the model and the loss take them."""


class TensorFlowSteps(ModelAround):
    """Base of `Trainer`: what `fit` and `evaluate` call."""

    _train_steps: StepFunction | None = None
    _steps_of_call: tf.Variable | None = None

    def check_backend(self, sharpness: SharpnessAware | None, prepare: Prepare | None) -> None:
        """Nothing: here everything works."""

    def resolve_jit(self, jit_compile: Any = "auto", run_eagerly: bool = False, **_: Any) -> bool:
        """What `jit_compile` of `compile` means: of several replicas, forward and backward pass alone.

        Raises:
            ValueError: it is True on a TPU.
        """
        if is_tpu(self.distribute_strategy):
            if jit_compile is True:
                raise ValueError("jit_compile=True is not for TPUs, which compile by themselves; leave it out.")
            return False
        if self.distribute_strategy.num_replicas_in_sync > 1 and jit_compile == "auto":
            return False
        if jit_compile == "auto":
            # Keras takes the machine of a TPU for a GPU.
            return bool(tf.config.list_physical_devices("GPU")) and not run_eagerly
        return jit_compile

    def train_step(self, data: Any) -> dict[str, Any]:
        """One update; returns the metrics so far and the norm of the gradient before clipping."""
        batch = Batch(*keras.utils.unpack_x_y_sample_weight(data))
        if self.prepare is not None:
            batch = Batch(*self.prepare(batch.images, batch.labels))
        gradients_of = self._gradients
        if self.jit_compile and replicas() > 1:
            # A sum over replicas cannot be compiled. A new function for each replica, whose variables it holds.
            gradients_of = tf.function(gradients_of, jit_compile=True, autograph=False)
        gradients = sum_over_replicas(gradients_of(batch))
        scaling = self.optimizer if isinstance(self.optimizer, LossScaleOptimizer) else None
        gradients = scaling.unscale(gradients) if scaling else gradients
        norm = tf.linalg.global_norm(gradients)
        if self.clip_norm:
            gradients, _ = tf.clip_by_global_norm(gradients, self.clip_norm, use_norm=norm)
        is_skipped = scaling.is_skipped(norm) if scaling else False
        if isinstance(self.optimizer, (DistributedUpdates, LossScaleOptimizer)):
            self.optimizer.apply_summed(gradients, self.trainable_variables)
        else:
            # It sums over the replicas once more.
            self.optimizer.apply(divide_among_replicas(gradients), self.trainable_variables)
        share_statistics(self.model)
        self.watch.update(self.loss_tracker.total, norm, is_skipped)
        return {**self.get_metrics_result(), "grad_norm": norm} if self.log_every_step else {}

    def _gradients(self, batch: Batch) -> list[tf.Tensor]:
        """This replica's share of the gradient of the mean loss."""
        variables = [variable.value for variable in self.trainable_variables]
        if not variables:
            raise ValueError(f"The model {self.model.name!r} has nothing to train: all its layers are frozen.")

        def gradients(measured: bool) -> list[tf.Tensor]:
            return accumulated_gradients(self._gradients_at_once, variables, batch, self.accum_steps, measured)

        if self.sharpness is None:
            return gradients(True)
        state = [variable.value for variable in self.non_trainable_variables]
        return sharp_gradients(self.sharpness, gradients, variables, state, self.optimizer.learning_rate)

    def _gradients_at_once(self, batch: Batch, measured: bool) -> list[tf.Tensor]:
        variables = [variable.value for variable in self.trainable_variables]
        with tf.GradientTape() as tape:
            outputs = self(batch.images, training=True)
            loss = self.loss_of(batch, outputs, training=True)
            scaled = self.optimizer.scale_loss(loss)
        if measured:
            self.count(batch, outputs, loss)
        gradients = tape.gradient(scaled, variables, unconnected_gradients=tf.UnconnectedGradients.ZERO)
        # Those of embeddings are lists of rows, of which norms and optimizers take repeated ones for different rows.
        return [tf.convert_to_tensor(gradient) for gradient in gradients]

    def test_step(self, data: Any) -> dict[str, Any]:
        """Measures one batch; returns the metrics so far."""
        return self.measure(Batch(*keras.utils.unpack_x_y_sample_weight(data)))

    def make_train_function(self, force: bool = False) -> None:
        """Prepares what `fit` calls for every `steps_per_execution` batches, anew if what is in it was changed."""
        if self.has_changed() or self.train_function is None or force:
            steps = int(self.steps_per_execution) if self._steps_of_call is None else self._steps_of_call
            self._train_steps = self._steps(self.train_step, steps)
            self.train_function = self._function(self._train_steps, self.prepare)

    def make_test_function(self, force: bool = False) -> None:
        """Prepares what `evaluate` calls for every `steps_per_execution` batches."""
        if self.test_function is None or force:
            self.test_function = self._function(self._steps(self.test_step, int(self.steps_per_execution)), None)

    @property
    def waited(self) -> float | None:
        """Seconds that the train steps waited for data so far; None where that is not measured, as on several devices.

        What `fit` prepared anew counts from 0.
        """
        measured = None if self._train_steps is None else self._train_steps.waited
        return None if measured is None else float(measured)

    def vary_steps(self) -> None:
        """From now on each "batch" of `fit` is as many as `set_steps_of_call` said last; the data must have them all.

        Keras' `steps_per_execution` stays 1, and the number of calls is what `steps_per_epoch` counts.
        """
        with tf.device("CPU:0"):
            self._steps_of_call = tf.Variable(1, trainable=False, dtype=tf.int32)
        self.train_function = None

    def set_steps_of_call(self, steps: int) -> None:
        """How many batches the next call of the train function takes, after `vary_steps`."""
        if self._steps_of_call is not None:
            self._steps_of_call.assign(steps)

    def _steps(self, step: Callable[[Any], Any], steps: int | tf.Variable) -> StepFunction:
        compiles_all = self.jit_compile and self.distribute_strategy.num_replicas_in_sync == 1
        return StepFunction(step, self.distribute_strategy, steps, compiles_all, self.run_eagerly)

    def _function(self, run: StepFunction, prepare: Prepare | None) -> Callable[[Iterable[Any]], Any]:
        strategy = self.distribute_strategy

        def function(batches: Iterable[Any]) -> Any:
            if not self._has_metric_variables:
                batches, spec = first_spec(strategy, batches)
                self.build_metrics(spec, prepare)
            return run(batches)

        return function

    def build_metrics(self, batch: Any, prepare: Prepare | None = None) -> None:
        """Makes the variables of loss and metrics, which cannot be made inside a loop; the first step does so itself.

        Args:
            batch: specifications of a replica's batch: images, labels and perhaps weights.
            prepare: what the step does first.
        """
        labels, outputs, weights = self.measured(batch, prepare)
        several = len(keras.tree.flatten(outputs)) > 1

        def measure(labels: Any, outputs: Any, weights: Any) -> Any:
            if several:
                self.compute_loss(None, labels, outputs, weights, training=False)
            return self.compute_metrics(None, labels, outputs, weights)

        if several or len(self.metrics) > 1:
            with self.distribute_strategy.scope():
                Symbolic(measure).compute_output_spec(labels, outputs, weights)
        self._has_metric_variables = True

    def measured(self, batch: Any, prepare: Prepare | None = None) -> tuple[Any, Any, Any]:
        """What metrics are given for a batch.

        Args:
            batch: see `build_metrics`.
            prepare: likewise.

        Returns:
            Labels, outputs and weights as symbolic tensors of Keras.
        """
        images, labels, weights = keras.utils.unpack_x_y_sample_weight(batch)
        if prepare is not None:
            images, labels = tf.function(prepare).get_concrete_function(images, labels).structured_outputs
        return symbols(labels), symbolic_output(self.model, images), symbols(weights)

    def check_steps(self, steps_per_epoch: int | None, num_batches: int | None) -> None:
        """Refuses what would leave batches over.

        Raises:
            ValueError: `steps_per_execution` does not divide the batches of several replicas, or those asked for.
        """
        several = self.distribute_strategy.num_replicas_in_sync > 1
        steps, count = steps_per_epoch or (num_batches if several else None), int(self.steps_per_execution)
        if steps and steps % count:
            raise ValueError(f"{steps} batches are no multiple of steps_per_execution, {count}.")
