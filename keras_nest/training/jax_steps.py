"""The steps of a `Trainer` on JAX, where a step takes the state and returns the new one; Keras' own loop calls them.

Batches are divided among the devices by `keras.distribution`; a step computes as if there were one device, and JAX's
compiler inserts the sums.
"""

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import keras
from keras import ops

from keras_nest.backends import on_jax, require_tensorflow
from keras_nest.training.micro_batches import Batch
from keras_nest.training.model_around import ModelAround
from keras_nest.training.sharpness import SharpnessAware

Values: TypeAlias = list[Any]
"""Arrays in the place of a list of variables."""
State: TypeAlias = tuple[Values, ...]
"""Of what is trained, what else is in the model, the optimizer (in training) and the metrics."""


class JaxSteps(ModelAround):
    """Base of `Trainer`: what `fit` and `evaluate` of Keras call."""

    waited: float | None = None
    """How long steps wait for data is not measured."""

    def check_backend(self, sharpness: SharpnessAware | None, prepare: Any) -> None:
        """Refuses what is written for TensorFlow, and other backends than JAX.

        Raises:
            ValueError: says what.
        """
        if not on_jax():
            require_tensorflow("training.Trainer", "compile the model itself with training.AdamW(clip_norm=…)")
        if sharpness is not None:
            require_tensorflow("A Trainer with sharpness", "leave it out")
        if prepare is not None:
            require_tensorflow("A Trainer with prepare", "do it in the data, data.map(prepare)")

    def set_steps_of_call(self, steps: int) -> None:
        """Nothing: each call is one step."""

    def resolve_jit(self, jit_compile: Any = "auto", **_: Any) -> Any:
        """What `jit_compile` of `compile` means: here "auto" is left to Keras, which compiles."""
        return jit_compile

    @property
    def metrics_variables(self) -> list[keras.Variable]:
        """Those of the metrics, and what watches over the gradients: state that goes through each step."""
        watch = getattr(self, "watch", None)
        return [*super().metrics_variables, *(watch.variables if watch else [])]

    def make_train_function(self, force: bool = False) -> None:
        """As that of Keras, anew if what is in a step was changed.

        Raises:
            ValueError: nothing is trained.
        """
        if not self.trainable_variables:
            raise ValueError(f"The model {self.model.name!r} has nothing to train: all its layers are frozen.")
        if self.has_changed() or self.train_function is None or force:
            super().make_train_function(force=True)
            self.train_function = self._giving_back(self.train_function)

    def _giving_back(self, run: Any) -> Callable[[State, Any], Any]:
        """A train function that gives the variables their values back, which Keras took, if a step has an error."""

        def function(state: State, batches: Any) -> Any:
            try:
                return run(state, batches)
            except (TypeError, ValueError):
                variables = self.trainable_variables, self.non_trainable_variables, self.optimizer.variables
                for group, values in zip((*variables, self.metrics_variables), state, strict=True):
                    for variable, value in zip(group, values, strict=True):
                        variable.assign(value)
                raise

        return function

    def train_step(self, state: State, data: Any) -> tuple[dict[str, Any], State]:
        """One update; returns the metrics so far and the norm of the gradient before clipping, and the new state."""
        trained, others, remembered, measured = state
        batch = Batch(*keras.utils.unpack_x_y_sample_weight(data))
        gradients, others, measured = self._accumulated(trained, others, measured, batch)
        norm = ops.sqrt(sum(ops.sum(ops.square(gradient)) for gradient in gradients))
        if self.clip_norm:
            gradients = clip_by_norm(gradients, self.clip_norm, norm)
        trained, remembered = self.optimizer.stateless_apply(remembered, gradients, trained)

        def report() -> dict[str, Any]:
            self.watch.update(self.loss_tracker.total, norm)
            return {**self.get_metrics_result(), "grad_norm": norm} if self.log_every_step else {}

        logs, measured = run_stateless(report, self.metrics_variables, measured)
        return logs, (trained, others, remembered, measured)

    def test_step(self, state: State, data: Any) -> tuple[dict[str, Any], State]:
        """Measures one batch; returns the metrics so far, and the new state."""
        batch = Batch(*keras.utils.unpack_x_y_sample_weight(data))
        variables = [*self.trainable_variables, *self.non_trainable_variables, *self.metrics_variables]
        values = [value for group in state for value in group]
        logs, values = run_stateless(lambda: self.measure(batch), variables, values)
        return logs, split(values, state)

    def _accumulated(
        self, trained: Values, others: Values, measured: Values, batch: Batch
    ) -> tuple[Values, Values, Values]:
        """Mean gradient of the parts of a batch, which go through the model one after the other, and the new state."""
        import jax

        steps = self.accum_steps
        if steps == 1:
            return self._gradients(trained, others, measured, batch)

        def add_part(carried: tuple[Values, Values, Values], part: Batch) -> tuple[Any, None]:
            total, others, measured = carried
            gradients, others, measured = self._gradients(trained, others, measured, part)
            return ([a + b / steps for a, b in zip(total, gradients, strict=True)], others, measured), None

        start = [ops.zeros_like(value) for value in trained]
        carried, _ = jax.lax.scan(add_part, (start, others, measured), divide(batch, steps))
        return carried

    def _gradients(
        self, trained: Values, others: Values, measured: Values, batch: Batch
    ) -> tuple[Values, Values, Values]:
        import jax

        variables = [*self.trainable_variables, *self.non_trainable_variables, *self.metrics_variables]

        def forward() -> Any:
            outputs = self(batch.images, training=True)
            loss = self.loss_of(batch, outputs, training=True)
            self.count(batch, outputs, loss)
            return loss

        def loss_of(trained: Values) -> tuple[Any, State]:
            loss, values = run_stateless(forward, variables, [*trained, *others, *measured])
            return loss, split(values, (trained, others, measured))[1:]

        gradients, (others, measured) = jax.grad(loss_of, has_aux=True)(trained)
        return gradients, others, measured


def run_stateless(
    function: Callable[[], Any], variables: Sequence[keras.Variable], values: Values
) -> tuple[Any, Values]:
    """Runs what reads and assigns variables, none of which is changed.

    Args:
        function: to run.
        variables: that it uses.
        values: what they hold at first.

    Returns:
        The result, and what they would hold then.
    """
    with keras.StatelessScope(list(zip(variables, values, strict=True)), collect_losses=True) as scope:
        result = function()
    return result, [scope.get_current_value(variable) for variable in variables]


def split(values: Values, like: Sequence[Values]) -> State:
    """Cuts a list into pieces that are as long as others."""
    rest = iter(values)
    return tuple([next(rest) for _ in piece] for piece in like)


def clip_by_norm(gradients: Values, limit: float, norm: Any) -> Values:
    """Scales gradients of too large a global norm down, and makes them NaN where it is not finite, as TensorFlow does.

    Args:
        gradients: to clip.
        limit: the largest norm.
        norm: theirs, scalar.
    """
    scale = ops.where(ops.isfinite(norm), limit * ops.minimum(1 / norm, 1 / limit), float("nan"))
    return [gradient * scale for gradient in gradients]


def divide(batch: Any, steps: int) -> Any:
    """Parts of a batch, of each of which every device has its share: (B, …) -> (steps, B / steps, …), perhaps nested.

    The parts are the same whatever the number of devices, and so are the draws of what is random in a model.

    Raises:
        ValueError: the devices cannot divide the parts evenly.
    """
    distribution = keras.distribution.distribution()
    devices = 1 if distribution is None else distribution.device_mesh.shape[0]

    def parts(values: Any) -> Any:
        if values.shape[0] % (steps * devices):
            raise ValueError(
                f"A device's batch of {values.shape[0] // devices} images cannot be divided by accum_steps, {steps}."
            )
        values = ops.reshape(values, (steps, -1, *values.shape[1:]))
        if distribution is None:
            return values
        axes = [None, distribution.batch_dim_name, *[None] * (len(values.shape) - 2)]
        layout = keras.distribution.TensorLayout(axes, distribution.device_mesh)
        return keras.distribution.distribute_tensor(values, layout)

    return keras.tree.map_structure(lambda values: None if values is None else parts(values), batch)
