"""Loss scaling for models that compute in float16, right on any number of replicas."""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf
from keras import ops

from keras_nest.backends import require_tensorflow
from keras_nest.graphs import as_written
from keras_nest.keras_private import ToldOfScaling
from keras_nest.training.replicas import (
    dense,
    divide_among_replicas,
    in_each_replica,
    sum_over_replicas,
    with_all_replicas,
)


@keras.saving.register_keras_serializable(package="keras_nest")
class LossScaleOptimizer(keras.optimizers.LossScaleOptimizer):
    """Keras' dynamic loss scaling, which looks at the gradient of all replicas.

    The loss is multiplied by a scale, so that small gradients are none in float16, and their sum over the replicas
    divided by it. Where that sum is not finite the step is skipped on all of them, nothing counts it (not the learning
    rate's schedule, nor averages of the weights), and the scale is halved; after `dynamic_growth_steps` steps without
    one it is doubled. (Keras' own class asks the first replica, before the sum.) `compile` of the models of this
    package and `Trainer` put it around an optimizer where a layer computes in float16.

    Source: Micikevicius et al., "Mixed Precision Training", ICLR 2018, section 3.2.

    Args:
        inner_optimizer: any optimizer of Keras; one of this package clips and accumulates what was divided.
        initial_scale: of the loss.
        dynamic_growth_steps: see above.
        name: name of the optimizer.

    Raises:
        BackendError: Keras does not run on TensorFlow.
    """

    def __init__(
        self,
        inner_optimizer: keras.optimizers.Optimizer,
        initial_scale: float = 2.0**15,
        dynamic_growth_steps: int = 2000,
        name: str = "loss_scale_optimizer",
    ) -> None:
        require_tensorflow("training.LossScaleOptimizer", "take the policy mixed_bfloat16")
        super().__init__(inner_optimizer, initial_scale, dynamic_growth_steps, name=name)
        if isinstance(inner_optimizer, ToldOfScaling):
            inner_optimizer.is_scaled_by_keras = False

    def build(self, var_list: Sequence[keras.Variable]) -> None:
        if not self.built:
            super().build(var_list)

    def apply(self, grads: Sequence[Any], trainable_variables: Sequence[Any] | None = None) -> None:
        """Updates the weights, as `keras.optimizers.Optimizer.apply`.

        Args:
            grads: of this replica's part of the scaled loss.
            trainable_variables: the variables that they belong to.
        """
        if not self.built:
            self.build(list(trainable_variables or ()))
        self.apply_summed(self.unscale(sum_over_replicas(list(map(dense, grads)))), trainable_variables)

    def unscale(self, gradients: Sequence[Any]) -> list[Any]:
        """Gradients of the loss, of those of the scaled loss."""
        scale = self.dynamic_scale.value
        return [gradient if gradient is None else gradient / ops.cast(scale, gradient.dtype) for gradient in gradients]

    def is_skipped(self, norm: Any) -> Any:
        """Whether a step is left out since the loss was scaled too much, and not since something else is wrong.

        Args:
            norm: of the gradient, scalar.
        """
        return ~tf.math.is_finite(norm) & (self.dynamic_scale.value > 1.0)

    @as_written
    def apply_summed(self, gradients: Sequence[Any], variables: Sequence[Any] | None = None) -> None:
        """As `apply`, of gradients that were summed over the replicas, and unscaled, already."""
        variables = variables or self._trainable_variables
        pairs = [(gradient, variable) for gradient, variable in zip(gradients, variables, strict=True)]
        places = [place for place, (gradient, _) in enumerate(pairs) if gradient is not None]
        given = [gradients[place] for place in places]
        finite = tf.reduce_all([tf.reduce_all(tf.math.is_finite(gradient)) for gradient in given])
        self._follow(finite)

        def follow(*given: Any) -> None:
            whole = dict(zip(places, given, strict=True))
            self._update([whole.get(place) for place in range(len(pairs))], list(variables))

        def update(strategy: tf.distribute.Strategy, finite: Any, *given: Any) -> None:
            def if_finite() -> tf.Tensor:
                in_each_replica(strategy, follow, given)
                return tf.constant(True)

            # The same on all replicas.
            finite = strategy.experimental_local_results(finite)[0]
            tf.cond(finite, if_finite, lambda: tf.constant(False))

        with_all_replicas(update, [finite, *given])

    def _update(self, gradients: list[Any], variables: list[Any]) -> None:
        inner = self.inner_optimizer
        if hasattr(inner, "apply_summed"):
            inner.apply_summed(gradients, variables)
        else:
            # It sums over the replicas once more.
            inner.apply(divide_among_replicas(gradients), variables)

    def _follow(self, finite: Any) -> None:
        """Scale and count after a step."""
        steps, scale = self.step_counter.value + 1, self.dynamic_scale.value
        grows = finite & (steps >= self.dynamic_growth_steps)
        self.dynamic_scale.assign(scale * tf.where(grows, 2.0, tf.where(finite, 1.0, 0.5)))
        self.step_counter.assign(tf.where(finite & ~grows, steps, 0))
