"""A Keras model whose train step is right on any number of replicas."""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import keras
import numpy as np
import tensorflow as tf

from keras_nest.data.mixing import check_labels
from keras_nest.models.configured import ConfiguredModel
from keras_nest.models.losses import cross_entropy, sigmoid_cross_entropy
from keras_nest.models.outputs import check_compile, default_loss
from keras_nest.training import weight_files
from keras_nest.training.averages import Averages
from keras_nest.training.sharpness import SharpnessAware
from keras_nest.training.strategies import is_tpu

Prepare: TypeAlias = Callable[[Any, tf.Tensor], tuple[tf.Tensor, tf.Tensor]]
"""What the train step does first: images and labels as they travelled -> as the model and the loss take them."""


class Batch(NamedTuple):
    """Images (B, H, W, C), labels (B,) or (B, K), and weights (B,) or None."""

    images: Any
    labels: Any
    weights: Any = None


class Trainer(keras.Model):
    """Trains a model with `compile`, `fit` and `evaluate`, on one device or under any `tf.distribute` strategy.

    >>> with strategy.scope():
    ...     trainer = Trainer(create_model("nest_tiny"), clip_norm=1.0, accum_steps=4)
    ...     trainer.compile(AdamW(1e-3), metrics=["accuracy"])
    >>> trainer.fit(train, epochs=10, shuffle=False)
    >>> trainer.save("model.keras")

    Stock Keras clips the gradient of each replica before they are summed and cannot accumulate under
    `MirroredStrategy`; here both are done on the sum, so that the number of replicas changes nothing but rounding.

    If the optimiser keeps an average of the weights (`use_ema=True`), it takes their place when `fit` ends, however it
    ends, and another `fit` goes on from there. In `fit`, too, it is the average that is validated, that callbacks save
    and that `EarlyStopping` restores; `SwapEMAWeights` has nothing to do and is left out. (Stock `model.fit` validates
    and saves the weights themselves until it ends.)

    `fit` logs `grad_norm` too, the global norm before clipping. In `evaluate` sample weights count for the loss as
    well: an image of weight 0 is not there. `save_weights` stores the optimiser too, and `load_weights` takes it up, so
    that `BackupAndRestore` goes on with it; random states begin anew. Of several replicas, the number of batches must
    be a multiple of `steps_per_execution`.

    Args:
        model: normalised images -> logits or probabilities; built. `save` and `export` write it, without the optimiser.
        clip_norm: largest global norm of a gradient; larger ones are scaled down. None or 0 lets all pass.
        accum_steps: parts of a replica's batch that go through the model one after the other, to save memory.
        sharpness: takes the gradient where the loss is higher nearby.
        prepare: first stage of the train step, on the device.

    Raises:
        ValueError: `accum_steps` or `clip_norm` is out of range.
    """

    def __init__(
        self,
        model: keras.Model,
        clip_norm: float | None = None,
        accum_steps: int = 1,
        sharpness: SharpnessAware | None = None,
        prepare: Prepare | None = None,
    ) -> None:
        super().__init__(name=f"{model.name}_trainer")
        if accum_steps < 1:
            raise ValueError(f"accum_steps is {accum_steps}; it must be 1 or more.")
        if clip_norm is not None and clip_norm < 0:
            raise ValueError(f"clip_norm is {clip_norm}; it must be positive, or None.")
        self.model, self.clip_norm, self.accum_steps = model, clip_norm, accum_steps
        self.sharpness, self.prepare = sharpness, prepare
        # Reading the metrics after every step would make the host wait for the device.
        self.log_every_step = True
        self.averages = Averages()
        self._parts: tuple[Any, ...] = ()
        self.train_function: Callable[[Any], Any] | None = None
        self.test_function: Callable[[Any], Any] | None = None
        self.built = True

    def call(self, images: Any, training: bool | None = None) -> Any:
        return self.model(images, training=training)

    def compile(
        self,
        optimizer: Any = "rmsprop",
        loss: Any = "auto",
        loss_weights: Any = None,
        metrics: Any = None,
        weighted_metrics: Any = None,
        **options: Any,
    ) -> None:
        """As for every Keras model; without a loss it is the one that fits the model, as in `ImageModel.compile`.

        Raises:
            ValueError: what this class does itself, or what is wrong under a strategy, is asked of Keras; or the loss
                or a metric takes probabilities and the model puts out logits, or the other way round.
        """
        replicas = self.distribute_strategy.num_replicas_in_sync
        if replicas > 1 or is_tpu(self.distribute_strategy):
            if options.get("jit_compile") is True:
                raise ValueError("jit_compile=True fails under a strategy; leave it out, a TPU compiles by itself.")
            options["jit_compile"] = False
        elif options.get("jit_compile", "auto") == "auto":
            # Keras takes the machine of a TPU for a GPU.
            options["jit_compile"] = bool(tf.config.list_physical_devices("GPU"))
        _refuse_half_precision(self.model)
        loss = default_loss(self.model) if isinstance(loss, str) and loss == "auto" else loss
        check_compile(self.model, loss, metrics, weighted_metrics)
        super().compile(optimizer, loss, loss_weights, metrics, weighted_metrics, auto_scale_loss=False, **options)
        if self.optimizer is not None:
            _refuse_options(self.optimizer)
            self.optimizer.build(self.trainable_variables)
            # The train step has summed the gradients already.
            self.optimizer._all_reduce_sum_gradients = list
        self.averages = Averages(self.optimizer, self.trainable_variables)
        self.watch = GradientWatch()

    def get_build_config(self) -> dict[str, Any] | None:
        """That of the inner model."""
        return self.model.get_build_config()

    @property
    def state(self) -> dict[str, list[tf.Variable]]:
        """Weights, statistics and random states, and all that the optimiser remembers."""
        return {
            "model": [variable.value for variable in self.model.variables],
            "optimizer": [variable.value for variable in self.optimizer.variables],
        }

    def train_step(self, data: Any) -> dict[str, Any]:
        """One update; returns the metrics so far and the norm of the gradient before clipping."""
        batch = Batch(*keras.utils.unpack_x_y_sample_weight(data))
        if self.prepare is not None:
            batch = Batch(*self.prepare(batch.images, batch.labels))
        gradients = (
            self._gradients(batch, measured=True)
            if self.sharpness is None
            else self._sharp_gradients(batch, self.sharpness)
        )
        gradients = sum_over_replicas(gradients)
        norm = tf.linalg.global_norm(gradients)
        if self.clip_norm:
            gradients, _ = tf.clip_by_global_norm(gradients, self.clip_norm, use_norm=norm)
        self.optimizer.apply(gradients, self.trainable_variables)
        share_statistics(self.model)
        self.watch.update(self._loss_tracker.total, norm)
        return {**self.get_metrics_result(), "grad_norm": norm} if self.log_every_step else {}

    def test_step(self, data: Any) -> dict[str, Any]:
        """Measures one batch; returns the metrics so far."""
        batch = Batch(*keras.utils.unpack_x_y_sample_weight(data))
        logits = self(batch.images, training=False)
        size = count = tf.cast(tf.shape(logits)[0], tf.float32)
        weighed = batch
        if batch.weights is not None:
            weights = tf.cast(batch.weights, tf.float32)
            count = tf.reduce_sum(weights)
            # Keras divides by the number of images, not by the sum of their weights.
            weighed = batch._replace(weights=weights * tf.math.divide_no_nan(size, count))
        loss = self._loss(weighed, logits, training=False) * _replicas()
        self._loss_tracker.update_state(loss, sample_weight=count)
        return self.compute_metrics(batch.images, batch.labels, logits, batch.weights)

    def fit(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        epochs: int = 1,
        verbose: Any = "auto",
        callbacks: Any = None,
        **options: Any,
    ) -> keras.callbacks.History:
        """As for every Keras model; see the class for averages of the weights.

        Raises:
            ValueError: labels in an array are none of the model's classes, or `steps_per_execution` does not divide the
                batches of several replicas.
        """
        self._check_classes(y)
        x = self._checked(x) if self.prepare is None else x
        if self.averages:
            # What it does is done here; twice would undo it.
            given = callbacks if isinstance(callbacks, (list, tuple)) else [callbacks] if callbacks else []
            callbacks = [one for one in given if not isinstance(one, keras.callbacks.SwapEMAWeights)]
        with self.averages.training():
            return super().fit(x, y, batch_size, epochs, verbose, callbacks, **options)

    def evaluate(self, x: Any = None, y: Any = None, *arguments: Any, **options: Any) -> Any:
        """As for every Keras model.

        Raises:
            ValueError: as `fit`.
        """
        self._check_classes(y)
        x = self._checked(x)
        with self.averages.in_place():
            return super().evaluate(x, y, *arguments, **options)

    def predict(self, x: Any, *arguments: Any, **options: Any) -> Any:
        """As for every Keras model."""
        x = self._checked(x)
        with self.averages.in_place():
            return super().predict(x, *arguments, **options)

    def _checked(self, x: Any) -> Any:
        """Data whose images the inner model looks at, if it is of this package."""
        return self.model.checked(x) if isinstance(self.model, ConfiguredModel) else x

    def make_train_function(self, force: bool = False) -> None:
        """Prepares what `fit` calls for every `steps_per_execution` batches, anew if what is in it was changed."""
        trained = tuple(map(id, self.trainable_variables))
        parts = (trained, self.clip_norm, self.accum_steps, self.sharpness, self.prepare, self.log_every_step)
        if self.train_function is None or force or parts != self._parts:
            self.train_function, self._parts = self._function(self.train_step), parts

    def make_test_function(self, force: bool = False) -> None:
        """Prepares what `evaluate` calls for every `steps_per_execution` batches."""
        if self.test_function is None or force:
            self.test_function = self._function(self.test_step)

    def reset_metrics(self) -> None:
        """Forgets what was measured."""
        super().reset_metrics()
        self.watch.reset()

    def save(self, filepath: Any, *arguments: Any, **options: Any) -> None:
        """Saves the inner model."""
        with self.averages.in_place():
            self.model.save(filepath, *arguments, **options)

    def save_weights(self, filepath: Any, overwrite: bool = True, **options: Any) -> None:
        """Saves the weights of the inner model, which it can load, and the state of the optimiser."""
        with self.averages.in_place():
            swapped = self.averages.are_in_place
            weight_files.save_weights(self.model, self._optimizer, swapped, filepath, overwrite=overwrite, **options)

    def load_weights(self, filepath: Any, *arguments: Any, **options: Any) -> None:
        """Loads weights of the inner model, and the state of the optimiser if it is there."""
        with_state, swapped = weight_files.load_weights(self.model, self._optimizer, filepath, *arguments, **options)
        if swapped:
            self.averages.swap()
        elif not with_state:
            self.averages.begin_anew()

    def get_weights(self) -> list[np.ndarray]:
        """Weights and statistics of the inner model."""
        with self.averages.in_place():
            return super().get_weights()

    def set_weights(self, weights: Any) -> None:
        """Inverse of `get_weights`; an average begins anew from them."""
        super().set_weights(weights)
        self.averages.begin_anew()

    def export(self, filepath: Any, *arguments: Any, **options: Any) -> None:
        """Exports the inner model."""
        with self.averages.in_place():
            self.model.export(filepath, *arguments, **options)

    def _check_classes(self, labels: Any) -> None:
        """Refuses labels in an array that are none of the classes: losses make NaN of them, or nothing."""
        outputs = getattr(self.model, "output_shape", None)
        is_array = hasattr(labels, "shape") and len(labels.shape) == 1
        if not (is_array and isinstance(outputs, tuple) and self.compiled and _takes_classes(self.loss)):
            return
        values = np.asarray(labels)
        if np.any(values != np.floor(values)):
            raise ValueError(
                f"The loss takes classes, and among the labels is {values[values != np.floor(values)][0]}."
            )
        check_labels(values, outputs[-1])

    @property
    def _optimizer(self) -> keras.optimizers.Optimizer | None:
        return self.optimizer if self.compiled else None

    def _values(self) -> list[tf.Variable]:
        return [variable.value for variable in self.trainable_variables]

    def _gradients(self, batch: Batch, measured: bool) -> list[tf.Tensor]:
        """This replica's share of the gradient of the mean loss; `measured` updates the metrics too."""
        if self.accum_steps == 1:
            return self._gradients_at_once(batch, measured)
        parts = [values if values is None else self._divide(values) for values in batch]

        def add_part(index: tf.Tensor, *total: tf.Tensor) -> tuple[tf.Tensor, ...]:
            part = Batch(*(values if values is None else values[index] for values in parts))
            gradients = self._gradients_at_once(part, measured)
            return (index + 1, *(a + b / self.accum_steps for a, b in zip(total, gradients, strict=True)))

        # A loop, not copies of the model side by side, which would run at the same time and save no memory.
        start = (0, *map(tf.zeros_like, self._values()))
        count = self.accum_steps
        _, *total = tf.while_loop(lambda index, *_: index < count, add_part, start, parallel_iterations=1)
        return total

    def _sharp_gradients(self, batch: Batch, sharpness: SharpnessAware) -> list[tf.Tensor]:
        """As `_gradients`, where the loss is higher nearby."""
        state = [variable.value for variable in self.non_trainable_variables]
        before = [tf.identity(variable) for variable in state]
        clean = self._gradients(batch, measured=True)

        def again() -> list[tf.Tensor]:
            # Layers draw the same masks, and statistics are updated once.
            for variable, value in zip(state, before, strict=True):
                variable.assign(value)
            return self._gradients(batch, measured=False)

        return sharpness.gradients(clean, self._values(), again, self.optimizer.learning_rate)

    def _gradients_at_once(self, batch: Batch, measured: bool) -> list[tf.Tensor]:
        with tf.GradientTape() as tape:
            logits = self(batch.images, training=True)
            loss = self._loss(batch, logits, training=True)
        if measured:
            self._loss_tracker.update_state(loss * _replicas(), sample_weight=tf.shape(logits)[0])
            for metric in self.metrics:
                if metric is not self._loss_tracker:
                    metric.update_state(batch.labels, logits, sample_weight=batch.weights)
        gradients = tape.gradient(loss, self._values(), unconnected_gradients=tf.UnconnectedGradients.ZERO)
        # Those of embeddings are lists of rows, of which norms and optimisers take repeated ones for different rows.
        return [tf.convert_to_tensor(gradient) for gradient in gradients]

    def _loss(self, batch: Batch, logits: Any, training: bool) -> Any:
        """The mean loss of this replica, divided by the number of replicas."""
        return self.compute_loss(batch.images, batch.labels, logits, batch.weights, training)

    def _divide(self, values: tf.Tensor) -> tf.Tensor:
        """(B, …) -> (accum_steps, B / accum_steps, …)."""
        if values.shape[0] is not None and values.shape[0] % self.accum_steps:
            raise ValueError(
                f"A replica's batch of {values.shape[0]} images cannot be divided by accum_steps, {self.accum_steps}."
            )
        message = f"A replica's batch cannot be divided by accum_steps, {self.accum_steps}; drop what is left over:"
        size = tf.shape(values)[0]
        # Known only inside a graph, which might reshape first.
        checks = [] if values.shape[0] else [tf.debugging.Assert(size % self.accum_steps == 0, [message, size])]
        with tf.control_dependencies(checks):
            return tf.reshape(values, (self.accum_steps, -1, *values.shape[1:]))

    def _function(self, step: Callable[[Any], Any]) -> Callable[[Any], Any]:
        """What runs `steps_per_execution` batches of an iterator."""
        strategy, count = self.distribute_strategy, int(self.steps_per_execution)
        if self.jit_compile:
            step = tf.function(step, jit_compile=True, autograph=False)

        def execute(iterator: Any) -> Any:
            outputs = strategy.run(step, args=(next(iterator),))
            if count > 1 and strategy.num_replicas_in_sync > 1:
                # A sum over replicas cannot stand in a condition.
                for _ in tf.range(count - 1):
                    outputs = strategy.run(step, args=(next(iterator),))
            elif count > 1:
                for _ in tf.range(count - 1):
                    batch = iterator.get_next_as_optional()
                    if not batch.has_value():
                        break
                    outputs = strategy.run(step, args=(batch.get_value(),))
            return tf.nest.map_structure(lambda x: strategy.reduce(tf.distribute.ReduceOp.MEAN, x, axis=None), outputs)

        return execute if self.run_eagerly else tf.function(execute, reduce_retracing=True)

    def build_metrics(self, batch: Any) -> None:
        """Makes the variables of the metrics, which cannot be made inside a loop; `fit` and `evaluate` do so too.

        Args:
            batch: specifications of a batch: images, labels and perhaps weights.
        """
        metrics = self._compile_metrics
        if metrics is None or metrics.built:
            return
        images, labels, _ = keras.utils.unpack_x_y_sample_weight(batch)
        if self.prepare is not None:
            labels = tf.function(self.prepare).get_concrete_function(images, labels).structured_outputs[1]
        with self.distribute_strategy.scope():
            metrics.build(keras.KerasTensor(labels.shape, labels.dtype.name), self.model.output)

    def _maybe_symbolic_build(self, iterator: Any = None, data_batch: Any = None) -> None:
        """What Keras does here fails under `MultiWorkerMirroredStrategy`, and throws a batch away."""
        if iterator is None:
            raise ValueError(
                "A Trainer takes no single batches; call fit or evaluate, with steps_per_epoch=1 or steps=1."
            )
        steps, count = iterator.steps_per_epoch, int(self.steps_per_execution)
        if self.distribute_strategy.num_replicas_in_sync > 1:
            steps = steps or iterator.num_batches
        if steps and steps % count:
            raise ValueError(f"{steps} batches are no multiple of steps_per_execution, {count}.")
        self.build_metrics(tf.nest.map_structure(_of_one_replica, iterator._distributed_dataset.element_spec))


class GradientWatch:
    """Mean norm of the gradient, and whether everything was finite; not among the metrics, which users name."""

    def __init__(self) -> None:
        self._norm, self._finite = keras.metrics.Mean(name="grad_norm"), keras.metrics.Sum(name="finite_steps")

    def update(self, loss: Any, norm: Any) -> None:
        """Counts a step: its loss, or the sum of losses so far, and the norm of its gradient; scalars."""
        self._norm.update_state(norm)
        self._finite.update_state(tf.cast(tf.math.is_finite(loss + norm), tf.float32) / _replicas())

    def reset(self) -> None:
        """Starts anew."""
        self._norm.reset_state()
        self._finite.reset_state()

    @property
    def norm(self) -> float:
        """Mean over the steps since `reset`."""
        return float(self._norm.result())

    @property
    def finite_steps(self) -> int:
        """Steps since `reset` until something became infinite or not a number."""
        return int(float(self._finite.result()) + 1e-3)


def sum_over_replicas(values: list[tf.Tensor]) -> list[tf.Tensor]:
    """Sums tensors over all replicas; for use inside a step."""
    if _replicas() == 1:
        return values
    return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, values)


def share_statistics(model: keras.Model) -> None:
    """Gives all replicas the mean of their batch statistics; for use inside a step.

    Keras keeps those of each replica, evaluates with its own and stores those of the first.
    """
    if _replicas() == 1:
        return
    layers = (layer for layer in model._flatten_layers() if isinstance(layer, keras.layers.BatchNormalization))
    kept = [(layer.moving_mean.value, layer.moving_variance.value) for layer in layers if layer.trainable]
    for variable in (variable for pair in kept for variable in pair):
        context = tf.distribute.get_replica_context()
        variable.assign(context.all_reduce(tf.distribute.ReduceOp.MEAN, tf.identity(variable)))


def _of_one_replica(spec: Any) -> tf.TypeSpec:
    """Specification of a tensor that may be spread over replicas."""
    return getattr(spec, "_value_specs", (spec,))[0]


def _takes_classes(loss: Any) -> bool:
    """Whether integer labels mean classes to a loss."""
    if isinstance(loss, keras.losses.SparseCategoricalCrossentropy):
        return loss.ignore_class is None
    return loss in ("sparse_categorical_crossentropy", cross_entropy, sigmoid_cross_entropy)


def _replicas() -> int:
    return tf.distribute.get_strategy().num_replicas_in_sync


def _refuse_half_precision(model: keras.Model) -> None:
    for layer in model._flatten_layers():
        if layer.compute_dtype == "float16":
            raise ValueError(
                f"The layer {layer.name!r} computes in float16, which needs loss scaling, and under a strategy that "
                "looks at the gradients of the first replica alone; use the policy mixed_bfloat16."
            )


def _refuse_options(optimizer: keras.optimizers.Optimizer) -> None:
    """Refuses what Keras does per replica, or not at all under a strategy."""
    for option in ("clipnorm", "global_clipnorm", "clipvalue"):
        if getattr(optimizer, option):
            raise ValueError(f"The optimiser has {option}, which clips before replicas are summed; use clip_norm.")
    if optimizer.gradient_accumulation_steps:
        raise ValueError("The optimiser has gradient_accumulation_steps, which a strategy breaks; use accum_steps.")
    if getattr(optimizer, "inner_optimizer", None) or optimizer.loss_scale_factor:
        raise ValueError("The optimiser scales the loss, which is broken under a strategy; use mixed_bfloat16.")
