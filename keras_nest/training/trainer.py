"""A Keras model whose train step does what only a train step can do, right on any number of devices."""

from typing import Any, Self

import keras
from keras import ops

from keras_nest.backends import on_tensorflow
from keras_nest.layers.changes import layers_inside
from keras_nest.models.outputs import ClassifierCompile, computes_in_float16
from keras_nest.training.averages import Averages
from keras_nest.training.distributed_optimizer import DistributedUpdates, check_numbers, check_optimizer
from keras_nest.training.gradient_watch import GradientWatch
from keras_nest.training.jax_steps import JaxSteps
from keras_nest.training.loss_scaling import LossScaleOptimizer
from keras_nest.training.micro_batches import Batch, count_images
from keras_nest.training.replicas import replicas
from keras_nest.training.sharpness import SharpnessAware
from keras_nest.training.tensorflow_steps import Prepare, TensorFlowSteps

# What a step is differs from one backend of Keras to another: it changes variables, or returns their new values.
Steps: Any = TensorFlowSteps if on_tensorflow() else JaxSteps


@keras.saving.register_keras_serializable(package="keras_nest")
class Trainer(ClassifierCompile, Steps):
    """Trains a model with `compile`, `fit` and `evaluate`, on any number of devices.

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
        ValueError: `accum_steps` or `clip_norm` is out of range, or Keras runs neither on TensorFlow nor on JAX, which
            has no `sharpness` and no `prepare`.
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
        self.check_backend(sharpness, prepare)
        super().__init__(model, name or f"{model.name}_trainer")
        check_numbers(clip_norm, accum_steps)
        self.clip_norm, self.accum_steps = clip_norm, accum_steps
        self.sharpness, self.prepare = sharpness, prepare
        # Reading the metrics after every step would make the host wait for the device.
        self.log_every_step = True
        self._parts: tuple[Any, ...] = ()
        self._has_metric_variables = False
        self.train_function = self.test_function = None

    def get_classifier(self) -> keras.Model:
        """The inner model."""
        return self.model

    def compile(self, optimizer: Any = "rmsprop", *arguments: Any, **options: Any) -> None:
        """As `keras_nest.models.ImageModel.compile`, for the inner model.

        The loss is scaled where a layer computes in float16, whatever `auto_scale_loss` says.

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
            scales = isinstance(optimizer, LossScaleOptimizer)
            self._check_optimizer(optimizer.inner_optimizer if scales else optimizer)
            if computes_in_float16(self.model) and not scales:
                optimizer = LossScaleOptimizer(optimizer)
        options |= {"jit_compile": self.resolve_jit(**options), "auto_scale_loss": False}
        super().compile(optimizer, *arguments, **options)
        if optimizer is not None:
            optimizer.build(self.trainable_variables)
        self.averages = Averages(self.optimizer, self.trainable_variables)
        self.watch = GradientWatch()
        self._has_metric_variables = False

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

    def count(self, batch: Batch, outputs: Any, loss: Any) -> None:
        """Adds a batch that was trained on to loss and metrics.

        Args:
            batch: see above.
            outputs: of the model.
            loss: as `loss_of` gives it.
        """
        self.loss_tracker.update_state(loss * replicas(), sample_weight=count_images(outputs))
        self.compute_metrics(batch.images, batch.labels, outputs, batch.weights)

    def measure(self, batch: Batch) -> dict[str, Any]:
        """Evaluates a batch; returns the metrics so far."""
        outputs = self(batch.images, training=False)
        size = count = ops.cast(count_images(outputs), "float32")
        weighed = batch
        if len(getattr(batch.weights, "shape", ())) == 1:
            weights = ops.cast(batch.weights, "float32")
            count = ops.sum(weights)
            # Keras divides by the number of images, not by the sum of their weights.
            weighed = batch._replace(weights=weights * ops.divide_no_nan(size, count))
        loss = self.loss_of(weighed, outputs, training=False) * replicas()
        self.loss_tracker.update_state(loss, sample_weight=count)
        return self.compute_metrics(batch.images, batch.labels, outputs, batch.weights)

    def loss_of(self, batch: Batch, outputs: Any, training: bool) -> Any:
        """The mean loss of this replica's batch, divided by the number of replicas."""
        return self.compute_loss(batch.images, batch.labels, outputs, batch.weights, training)

    def has_changed(self) -> bool:
        """Whether what is in a train step was changed since the last call."""
        trained = tuple(map(id, self.trainable_variables))
        before, self._parts = (
            self._parts,
            (trained, self.clip_norm, self.accum_steps, self.sharpness, self.prepare, self.log_every_step),
        )
        return self._parts != before

    def reset_metrics(self) -> None:
        """Forgets what was measured."""
        super().reset_metrics()
        self.watch.reset()


def _check_layers(model: keras.Model) -> None:
    for layer in layers_inside(model):
        if not layer.built:
            raise ValueError(
                f"The layer {layer.name!r} of {model.name!r} is not built; begin the model with a keras.Input, or call "
                "its build."
            )
