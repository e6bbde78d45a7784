"""Optimizers whose gradients are summed over the replicas before anything else is done with them.

Stock Keras clips the gradient of each replica before the sum, and cannot accumulate gradients under
`MirroredStrategy`. Here the order is: sum over replicas, accumulate, clip the mean, update. So the number of replicas
changes nothing but rounding, and `accum_steps` batches of B images are one batch of `accum_steps` * B.
"""

import functools
from collections.abc import Sequence
from typing import Any, Self

import keras
import tensorflow as tf
from keras import ops

from keras_nest.backends import on_tensorflow, require_tensorflow
from keras_nest.graphs import as_written
from keras_nest.keras_private import ToldOfScaling, built_for, clip_gradients, variable_index
from keras_nest.training.loss_scaling import LossScaleOptimizer
from keras_nest.training.replicas import (
    dense,
    divide_among_replicas,
    in_each_replica,
    replicas,
    sum_over_replicas,
    with_all_replicas,
)


class DistributedUpdates(ToldOfScaling):
    """Mixin for optimizers of Keras, to stand before them: clips and accumulates right on any number of replicas.

    A class with it has `update_weights(gradients, variables)`, which takes gradients as `apply` does, summed over the
    replicas.

    Args:
        *args: of the optimizer.
        clip_norm: largest global norm of the gradient that updates the weights; larger ones are scaled down. Keras'
            `global_clipnorm` is the same, and right too, as are `clipnorm` and `clipvalue`. None lets all pass.
        accum_steps: calls of `apply`, such as training steps, whose mean gradient makes one update. `iterations`, the
            learning rate's schedule and the average of the weights (`use_ema`) count updates.
        **kwargs: of the optimizer.

    Raises:
        ValueError: a value is out of range or given twice, or there is `accum_steps` where Keras runs neither on
            TensorFlow nor on JAX.
    """

    built: bool
    global_clipnorm: float | None

    def __init__(self, *args: Any, clip_norm: float | None = None, accum_steps: int = 1, **kwargs: Any) -> None:
        check_numbers(clip_norm, accum_steps)
        if clip_norm and kwargs.get("global_clipnorm"):
            raise ValueError("clip_norm and global_clipnorm are the same; give one of them.")
        if accum_steps > 1 and kwargs.get("gradient_accumulation_steps"):
            raise ValueError("accum_steps and gradient_accumulation_steps both accumulate; give accum_steps.")
        if accum_steps > 1 and keras.backend.backend() != "jax":
            require_tensorflow("accum_steps", "give a stock optimizer of Keras its gradient_accumulation_steps")
        super().__init__(*args, **(kwargs | ({"global_clipnorm": clip_norm} if clip_norm else {})))
        self.accum_steps = accum_steps

    def build(self, variables: Sequence[keras.Variable]) -> None:
        """Makes the variables of the optimizer.

        Raises:
            ValueError: what this cannot do under a strategy is asked of Keras.
        """
        if self.built:
            return
        if replicas() > 1 and getattr(self, "gradient_accumulation_steps", None):
            raise ValueError("gradient_accumulation_steps fails under a strategy; use accum_steps.")
        overwritten = any(getattr(variable, "overwrite_with_gradient", False) for variable in variables)
        if overwritten and (replicas() > 1 or self.accum_steps > 1):
            raise ValueError("A model in float8 trains on one replica and without accum_steps only.")
        if replicas() > 1 and self.is_scaled_by_keras:
            raise ValueError(
                "Keras' LossScaleOptimizer looks at the gradients of the first replica alone; compile with "
                "training.LossScaleOptimizer(…) around this optimizer."
            )
        super().build(variables)  # type: ignore[misc]
        if self.accum_steps > 1:
            self._gradient_sums = self.add_optimizer_variables(variables, "gradient_sum")  # type: ignore[attr-defined]
            options = {"dtype": "int", "aggregation": "only_first_replica", "name": "steps_in_sum"}
            self._steps_in_sum = self.add_variable((), **options)  # type: ignore[attr-defined]

    def apply(self, grads: Sequence[Any], trainable_variables: Sequence[Any] | None = None) -> None:
        """Updates the weights, as `keras.optimizers.Optimizer.apply`.

        Args:
            grads: those of this replica's part of the loss, as `model.fit` computes them; their sum is followed.
            trainable_variables: the variables that they belong to.
        """
        self.apply_summed(sum_over_replicas(list(map(dense, grads))), trainable_variables)

    @as_written
    def apply_summed(self, gradients: Sequence[Any], variables: Sequence[Any] | None = None) -> None:
        """As `apply`, of gradients that were summed over the replicas already."""
        if self.accum_steps == 1:
            self.update_weights(gradients, variables)  # type: ignore[attr-defined]
            return
        if not self.built:
            self.build(list(variables or ()))
        sums = self._gradient_sums
        if variables is not None:
            sums = [sums[variable_index(self, variable)] for variable in variables]
        # Variables without a gradient are left to Keras, which warns of them.
        given = [(sum_, gradient) for sum_, gradient in zip(sums, gradients, strict=True) if gradient is not None]
        if not on_tensorflow():
            self._accumulate_stateless(given, sums, gradients, variables)
            return

        def follow_mean() -> None:
            means = [
                None if gradient is None else sum_.value / self.accum_steps
                for sum_, gradient in zip(sums, gradients, strict=True)
            ]
            self.update_weights(means, variables)  # type: ignore[attr-defined]

        def accumulate(strategy: tf.distribute.Strategy, *added: Any) -> None:
            update = functools.partial(strategy.extended.update, group=False)
            for (sum_, _), gradient in zip(given, added, strict=True):
                update(sum_.value, lambda variable, value: variable.assign_add(value), args=(gradient,))
            update(self._steps_in_sum.value, lambda count: count.assign((count + 1) % self.accum_steps))

            def finish() -> tf.Tensor:
                in_each_replica(strategy, follow_mean)
                for sum_, _ in given:
                    update(sum_.value, lambda variable: variable.assign(tf.zeros_like(variable)))
                return tf.constant(True)

            tf.cond(tf.equal(self._steps_in_sum.value, 0), finish, lambda: tf.constant(False))

        with_all_replicas(accumulate, [gradient for _, gradient in given])

    def _accumulate_stateless(
        self, given: Sequence[Any], sums: Sequence[keras.Variable], gradients: Sequence[Any], variables: Any
    ) -> None:
        """The same without a condition around variables, which JAX does not have: what is too early is taken back."""
        for sum_, gradient in given:
            sum_.assign_add(gradient)
        count = (self._steps_in_sum.value + 1) % self.accum_steps
        kept = [*(built_for(self) if variables is None else variables), *self.variables]  # type: ignore[attr-defined]
        before = [variable.value for variable in kept]
        pairs = zip(sums, gradients, strict=True)
        self.update_weights(  # type: ignore[attr-defined]
            [None if gradient is None else sum_.value / self.accum_steps for sum_, gradient in pairs], variables
        )
        for variable, value in zip(kept, before, strict=True):
            variable.assign(ops.where(count == 0, variable.value, value))
        for sum_, _ in given:
            sum_.assign(ops.where(count == 0, ops.zeros_like(sum_.value), sum_.value))
        self._steps_in_sum.assign(count)

    def with_loss_scaling(self) -> keras.optimizers.LossScaleOptimizer:
        """This optimizer for a model that computes in float16; `compile` of the models here asks for it."""
        return LossScaleOptimizer(self) if on_tensorflow() else keras.optimizers.LossScaleOptimizer(self)

    def get_config(self) -> dict[str, Any]:
        """Arguments of the constructor."""
        return {**super().get_config(), "accum_steps": self.accum_steps}  # type: ignore[misc]


@keras.saving.register_keras_serializable(package="keras_nest")
class DistributedOptimizer(DistributedUpdates, keras.optimizers.Optimizer):
    """Any optimizer of Keras, with clipping and gradient accumulation that are right on any number of replicas.

    >>> with strategy.scope():
    ...     optimizer = DistributedOptimizer(keras.optimizers.Lion(1e-4), clip_norm=1.0, accum_steps=4)
    ...     model.compile(optimizer, loss, metrics=["accuracy"])

    `AdamW` and `Momentum` of this package take `clip_norm` and `accum_steps` themselves. Of several replicas, the
    gradient is summed once more by the inner optimizer, which costs communication.

    Args:
        inner_optimizer: a name or an object; what it keeps and its learning rate are its own.
        clip_norm: largest global norm of the gradient that updates the weights; None lets all pass.
        accum_steps: training steps whose mean gradient makes one update, which the inner optimizer counts.
        name: name of the optimizer.

    Raises:
        ValueError: a value is out of range, or the inner optimizer clips, accumulates or scales the loss itself.
    """

    def __init__(
        self,
        inner_optimizer: Any,
        clip_norm: float | None = None,
        accum_steps: int = 1,
        name: str = "distributed_optimizer",
    ) -> None:
        inner = keras.optimizers.get(inner_optimizer)
        if isinstance(inner, DistributedUpdates):
            raise ValueError(f"{type(inner).__name__} takes clip_norm and accum_steps itself; it needs no wrapper.")
        check_optimizer(inner)
        super().__init__(0.0, clip_norm=clip_norm, accum_steps=accum_steps, name=name)
        self.inner_optimizer = inner

    def build(self, variables: Sequence[keras.Variable]) -> None:
        self.inner_optimizer.build(variables)
        super().build(variables)

    def update_weights(self, gradients: Sequence[Any], variables: Sequence[Any] | None = None) -> None:
        """Clips, and hands over to the inner optimizer, which sums over the replicas again."""
        if self.global_clipnorm:
            gradients = clip_gradients(self, gradients)
        self.inner_optimizer.apply(divide_among_replicas(gradients), variables)

    @property
    def variables(self) -> list[keras.Variable]:
        """Its own variables, then those of the inner optimizer."""
        return [*super().variables, *self.inner_optimizer.variables]

    @property
    def iterations(self) -> Any:
        """Number of updates."""
        return self.inner_optimizer.iterations

    @property
    def learning_rate(self) -> Any:
        """That of the inner optimizer; may be set."""
        return self.inner_optimizer.learning_rate

    @learning_rate.setter
    def learning_rate(self, rate: Any) -> None:
        """Sets that of the inner optimizer."""
        self.inner_optimizer.learning_rate = rate

    def finalize_variable_values(self, var_list: Sequence[keras.Variable]) -> None:
        """Puts the average of the weights, if the inner optimizer keeps one, in their place."""
        self.inner_optimizer.finalize_variable_values(var_list)

    def get_config(self) -> dict[str, Any]:
        """Arguments of the constructor."""
        inner = keras.saving.serialize_keras_object(self.inner_optimizer)
        own = {"clip_norm": self.global_clipnorm, "accum_steps": self.accum_steps, "name": self.name}
        return {"inner_optimizer": inner, **own}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> Self:
        """Inverse of `get_config`."""
        inner = keras.saving.deserialize_keras_object(config["inner_optimizer"], custom_objects)
        return cls(**{**config, "inner_optimizer": inner})


def check_numbers(clip_norm: float | None, accum_steps: int) -> None:
    """Refuses values that mean nothing.

    Raises:
        ValueError: says which.
    """
    if accum_steps < 1:
        raise ValueError(f"accum_steps is {accum_steps}; it must be 1 or more.")
    if clip_norm is not None and clip_norm < 0:
        raise ValueError(f"clip_norm is {clip_norm}; it must be positive, or None.")


def check_optimizer(optimizer: keras.optimizers.Optimizer) -> None:
    """Refuses what optimizers of Keras do per replica, or not at all under a strategy.

    Args:
        optimizer: that gets gradients of all replicas; those of this package clip right.

    Raises:
        ValueError: says what to use instead.
    """
    for option in ("clipnorm", "global_clipnorm", "clipvalue"):
        if getattr(optimizer, option, None) and not isinstance(optimizer, DistributedUpdates):
            raise ValueError(f"The optimizer has {option}, which clips before replicas are summed; use clip_norm.")
    if getattr(optimizer, "gradient_accumulation_steps", None):
        raise ValueError("The optimizer has gradient_accumulation_steps, which a strategy breaks; use accum_steps.")
    is_scaling = isinstance(optimizer, keras.optimizers.LossScaleOptimizer)
    if is_scaling or getattr(optimizer, "loss_scale_factor", None):
        raise ValueError(
            "The optimizer scales the loss, which is wrong under a strategy; leave that to "
            "training.LossScaleOptimizer, outermost, or to compile, which knows where a model computes in float16."
        )
