"""A Keras model whose train step does what only a train step can do, right on any number of replicas."""

from collections.abc import Callable, Iterable
from typing import Any, Self, TypeAlias

import keras
import tensorflow as tf

from keras_nest.backends import require_tensorflow
from keras_nest.layers.changes import layers_inside
from keras_nest.models.outputs import ClassifierCompile
from keras_nest.training.averages import Averages
from keras_nest.training.distributed_optimizer import (
    DistributedUpdates,
    check_numbers,
    check_optimizer,
    divide_among_replicas,
    replicas,
    sum_over_replicas,
)
from keras_nest.training.gradient_watch import GradientWatch
from keras_nest.training.micro_batches import Batch, accumulated_gradients, count_images, sharp_gradients
from keras_nest.training.model_around import ModelAround
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


@keras.saving.register_keras_serializable(package="keras_nest")
class Trainer(ClassifierCompile, ModelAround):
    """Trains a model with `compile`, `fit` and `evaluate`, on one device or under any `tf.distribute` strategy.

    >>> with strategy.scope():
    ...     trainer = Trainer(create_model("nest_tiny"), clip_norm=1.0, accum_steps=4)
    ...     trainer.compile(AdamW(1e-3), metrics=["accuracy"])
    >>> trainer.fit(train, epochs=10, shuffle=False)
    >>> trainer.save("model.keras")

    A model can be trained with its own `compile` and `fit`, too, which `AdamW(clip_norm=…, accum_steps=…)` makes right
    on any number of replicas. Here is what needs a train step of its own: micro-batches within a step, sharpness-aware
    gradients, work on the device before the model, any optimizer clipped without a wrapper, `grad_norm` in the logs
    (the global norm before clipping), several steps a call on several replicas, and several machines.

    If the optimizer keeps an average of the weights (`use_ema=True`), it replaces them when `fit` ends, however it
    ends, and another `fit` goes on from there. In `fit`, too, it is the average that is validated, that callbacks save
    and that `EarlyStopping` restores; `SwapEMAWeights` has nothing to do and is left out. (Stock `model.fit` validates
    and saves the weights themselves until it ends.)

    In `evaluate` sample weights count for the loss as well: an image of weight 0 is not there. `save` writes the model
    alone, `keras.saving.save_model(trainer, path)` the trainer with its optimizer. `save_weights` stores the optimizer
    too, and `load_weights` restores it, so that `BackupAndRestore` goes on with it; random states begin anew. Of
    several replicas, the number of batches must be a multiple of `steps_per_execution`.

    Args:
        model: normalized images -> logits or probabilities, or any model of Keras with any inputs and outputs; built.
        clip_norm: largest global norm of a gradient; larger ones are scaled down. None or 0 lets all pass.
        accum_steps: micro-batches of a replica's batch that go through the model one after the other, to save memory.
        sharpness: takes the gradient where the loss is higher nearby.
        prepare: first stage of the train step, on the device.
        name: of the trainer; by default that of the model with `_trainer` behind it.

    Raises:
        ValueError: `accum_steps` or `clip_norm` is out of range, or Keras does not run on TensorFlow.
    """

    def __init__(
        self,
        model: keras.Model,
        clip_norm: float | None = None,
        accum_steps: int = 1,
        sharpness: SharpnessAware | None = None,
        prepare: Prepare | None = None,
        name: str | None = None,
    ) -> None:
        recipe = "compile the model itself with training.AdamW(clip_norm=…, accum_steps=…)"
        require_tensorflow("training.Trainer", recipe)
        super().__init__(model, name or f"{model.name}_trainer")
        check_numbers(clip_norm, accum_steps)
        self.clip_norm, self.accum_steps = clip_norm, accum_steps
        self.sharpness, self.prepare = sharpness, prepare
        # Reading the metrics after every step would make the host wait for the device.
        self.log_every_step = True
        self._parts: tuple[Any, ...] = ()
        self._has_metric_variables = False
        self._train_steps: StepFunction | None = None
        self.train_function: Callable[[Any], Any] | None = None
        self.test_function: Callable[[Any], Any] | None = None

    def get_classifier(self) -> keras.Model:
        """The inner model."""
        return self.model

    def compile(self, optimizer: Any = "rmsprop", *arguments: Any, **options: Any) -> None:
        """As `keras_nest.models.ImageModel.compile`, for the inner model; `auto_scale_loss` has nothing to do here.

        Args:
            optimizer: a name or an object.
            *arguments: loss, loss_weights, metrics and weighted_metrics; without a loss it is the one that fits.
            **options: of Keras' `compile`.

        Raises:
            ValueError: what this class does itself, or what is wrong under a strategy, is asked of Keras; the loss or a
                metric takes probabilities and the model puts out logits, or the other way round; or the model is not
                built.
        """
        _check_layers(self.model)
        optimizer = keras.optimizers.get(optimizer)
        if optimizer is not None:
            self._check_optimizer(optimizer)
        options |= {"jit_compile": self._resolve_jit(**options), "auto_scale_loss": False}
        super().compile(optimizer, *arguments, **options)
        if optimizer is not None:
            optimizer.build(self.trainable_variables)
        self.averages = Averages(self.optimizer, self.trainable_variables)
        self.watch = GradientWatch()
        self._has_metric_variables = False

    def _resolve_jit(self, jit_compile: Any = "auto", run_eagerly: bool = False, **_: Any) -> bool:
        if self.distribute_strategy.num_replicas_in_sync > 1 or is_tpu(self.distribute_strategy):
            if jit_compile is True:
                raise ValueError("jit_compile=True fails under a strategy; leave it out, a TPU compiles by itself.")
            return False
        if jit_compile == "auto":
            # Keras takes the machine of a TPU for a GPU.
            return bool(tf.config.list_physical_devices("GPU")) and not run_eagerly
        return jit_compile

    def _check_optimizer(self, optimizer: keras.optimizers.Optimizer) -> None:
        check_optimizer(optimizer)
        is_ours = isinstance(optimizer, DistributedUpdates)
        if self.clip_norm and is_ours and (optimizer.global_clipnorm or optimizer.accum_steps > 1):
            raise ValueError(
                "The Trainer has clip_norm, and the optimizer clip_norm or accum_steps; give clip_norm to the "
                "optimizer, which clips what it accumulated."
            )

    def get_config(self) -> dict[str, Any]:
        """Arguments of the constructor.

        Raises:
            ValueError: there is `prepare`, which no file keeps.
        """
        if self.prepare is not None:
            raise ValueError("A Trainer with prepare has no configuration; save or clone trainer.model.")
        nested = {"model": self.model, "sharpness": self.sharpness}
        serialized = {name: keras.saving.serialize_keras_object(value) for name, value in nested.items()}
        return {**serialized, "clip_norm": self.clip_norm, "accum_steps": self.accum_steps, "name": self.name}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> Self:
        """Inverse of `get_config`."""
        nested = {
            name: keras.saving.deserialize_keras_object(config[name], custom_objects) for name in ("model", "sharpness")
        }
        return cls(**{**config, **nested})

    @property
    def output_names(self) -> list[str]:
        """Those of the inner model, by which Keras names losses and metrics; an AttributeError if it has none."""
        return self.model.output_names

    @property
    def loss_tracker(self) -> keras.metrics.Mean:
        """Mean of the loss since `reset_metrics`."""
        return self.metrics[0]

    def train_step(self, data: Any) -> dict[str, Any]:
        """One update; returns the metrics so far and the norm of the gradient before clipping."""
        batch = Batch(*keras.utils.unpack_x_y_sample_weight(data))
        if self.prepare is not None:
            batch = Batch(*self.prepare(batch.images, batch.labels))
        gradients = sum_over_replicas(self._gradients(batch))
        norm = tf.linalg.global_norm(gradients)
        if self.clip_norm:
            gradients, _ = tf.clip_by_global_norm(gradients, self.clip_norm, use_norm=norm)
        if isinstance(self.optimizer, DistributedUpdates):
            self.optimizer.apply_summed(gradients, self.trainable_variables)
        else:
            # It sums over the replicas once more.
            self.optimizer.apply(divide_among_replicas(gradients), self.trainable_variables)
        share_statistics(self.model)
        self.watch.update(self.loss_tracker.total, norm)
        return {**self.get_metrics_result(), "grad_norm": norm} if self.log_every_step else {}

    def test_step(self, data: Any) -> dict[str, Any]:
        """Measures one batch; returns the metrics so far."""
        batch = Batch(*keras.utils.unpack_x_y_sample_weight(data))
        outputs = self(batch.images, training=False)
        size = count = tf.cast(count_images(outputs), tf.float32)
        weighed = batch
        if tf.is_tensor(batch.weights) and len(batch.weights.shape) == 1:
            weights = tf.cast(batch.weights, tf.float32)
            count = tf.reduce_sum(weights)
            # Keras divides by the number of images, not by the sum of their weights.
            weighed = batch._replace(weights=weights * tf.math.divide_no_nan(size, count))
        loss = self._loss(weighed, outputs, training=False) * replicas()
        self.loss_tracker.update_state(loss, sample_weight=count)
        return self.compute_metrics(batch.images, batch.labels, outputs, batch.weights)

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
            loss = self._loss(batch, outputs, training=True)
        if measured:
            self.loss_tracker.update_state(loss * replicas(), sample_weight=count_images(outputs))
            self.compute_metrics(batch.images, batch.labels, outputs, batch.weights)
        gradients = tape.gradient(loss, variables, unconnected_gradients=tf.UnconnectedGradients.ZERO)
        # Those of embeddings are lists of rows, of which norms and optimizers take repeated ones for different rows.
        return [tf.convert_to_tensor(gradient) for gradient in gradients]

    def _loss(self, batch: Batch, outputs: Any, training: bool) -> Any:
        """The mean loss of this replica, divided by the number of replicas."""
        return self.compute_loss(batch.images, batch.labels, outputs, batch.weights, training)

    def make_train_function(self, force: bool = False) -> None:
        """Prepares what `fit` calls for every `steps_per_execution` batches, anew if what is in it was changed."""
        trained = tuple(map(id, self.trainable_variables))
        parts = (trained, self.clip_norm, self.accum_steps, self.sharpness, self.prepare, self.log_every_step)
        if self.train_function is None or force or parts != self._parts:
            self._train_steps, self._parts = self._steps(self.train_step), parts
            self.train_function = self._function(self._train_steps, self.prepare)

    def make_test_function(self, force: bool = False) -> None:
        """Prepares what `evaluate` calls for every `steps_per_execution` batches."""
        if self.test_function is None or force:
            self.test_function = self._function(self._steps(self.test_step), None)

    @property
    def waited(self) -> float | None:
        """Seconds that the train steps waited for data so far; None where that is not measured, as on several devices.

        What `fit` prepared anew counts from 0.
        """
        measured = None if self._train_steps is None else self._train_steps.waited
        return None if measured is None else float(measured)

    def _steps(self, step: Callable[[Any], Any]) -> StepFunction:
        steps = int(self.steps_per_execution)
        return StepFunction(step, self.distribute_strategy, steps, self.jit_compile, self.run_eagerly)

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

    def reset_metrics(self) -> None:
        """Forgets what was measured."""
        super().reset_metrics()
        self.watch.reset()


def _check_layers(model: keras.Model) -> None:
    for layer in (model, *layers_inside(model)):
        if layer.compute_dtype == "float16":
            raise ValueError(
                f"The layer {layer.name!r} computes in float16, which needs loss scaling, and under a strategy that "
                "looks at the gradients of the first replica alone; use the policy mixed_bfloat16."
            )
        if layer is not model and not layer.built:
            raise ValueError(
                f"The layer {layer.name!r} of {model.name!r} is not built; begin the model with a keras.Input, or call "
                "its build."
            )
