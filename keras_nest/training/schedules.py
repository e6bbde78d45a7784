"""Learning rates over the steps of a training."""

import math
from typing import Any

import keras
from keras import ops

SCHEDULES = ("cosine", "linear", "constant", "range_test")


@keras.saving.register_keras_serializable(package="keras_nest")
class WarmupDecay(keras.optimizers.schedules.LearningRateSchedule):
    """Linear warm-up, then a decay to zero at the end of the last epoch.

    The first update has step 1: called with the optimizer's number of finished updates, it gives the rate of the next
    one. Past its end "cosine" rises again, as the reference does; "linear" stays at the minimum.

    Source: reference `train.py`, `get_learning_rate`. Its formula 0.5 * (1 + cos(pi * progress)) loses digits in
    float32 near the end; the square of a sine, used here, does not.

    Args:
        learning_rate: rate at the end of the warm-up.
        steps_per_epoch: updates an epoch.
        num_epochs: epochs until the end of the decay.
        schedule: "cosine", "linear" or "constant"; "range_test" rises from `min_learning_rate` to `learning_rate` by
            equal factors, see `keras_nest.training.range_test`.
        warmup_epochs: epochs of linear warm-up from 0; without warm-up step 0, which no update uses, is NaN.
        min_learning_rate: lower bound once the warm-up is over.
        name: name of the schedule.

    Raises:
        ValueError: unknown schedule, no steps in an epoch, a warm-up that leaves no epoch to decay, or a range test
            that begins at 0.
    """

    def __init__(
        self,
        learning_rate: float,
        steps_per_epoch: int,
        num_epochs: float,
        schedule: str = "cosine",
        warmup_epochs: float = 0,
        min_learning_rate: float = 0.0,
        name: str = "warmup_decay",
    ) -> None:
        if schedule not in SCHEDULES:
            known = ", ".join(map(repr, SCHEDULES))
            raise ValueError(f"learning_rate_schedule is {schedule!r}; it must be one of {known}.")
        if steps_per_epoch <= 0:
            raise ValueError(f"steps_per_epoch is {steps_per_epoch}; an epoch needs at least one step.")
        if warmup_epochs >= num_epochs:
            raise ValueError(f"warmup_epochs is {warmup_epochs:g}; it must be less than num_epochs, {num_epochs:.4g}.")
        if schedule == "range_test" and min_learning_rate <= 0:
            raise ValueError("A range test rises from min_learning_rate by equal factors; it must be above 0.")
        self._config = {k: v for k, v in locals().items() if k != "self"}
        self._warmup_steps = warmup_epochs * steps_per_epoch
        self._steps = num_epochs * steps_per_epoch

    def __call__(self, step: Any) -> Any:
        """Rate of the update that follows `step` finished ones: scalar float32."""
        return self.at(ops.cast(step, "float32") + 1)

    def at(self, step: Any) -> Any:
        """Rate of update number `step`, counted from 1; scalar or array (…) -> float32 (…)."""
        step = ops.cast(step, "float32")
        warmup = ops.minimum(1.0, ops.divide(step, ops.cast(self._warmup_steps, "float32")))
        rate = self._config["learning_rate"] * self._decay(step) * warmup
        bounded = ops.maximum(rate, self._config["min_learning_rate"])
        return ops.where(step >= self._warmup_steps, ops.where(ops.isnan(rate), rate, bounded), rate)

    def _decay(self, step: Any) -> Any:
        """Factor of the decay: 1 until the end of the warm-up, 0 at the end of the training."""
        left = ops.minimum(1.0, (self._steps - step) / (self._steps - self._warmup_steps))
        if self._config["schedule"] == "cosine":
            return ops.square(ops.sin(0.5 * math.pi * left))
        if self._config["schedule"] == "range_test":
            return ops.power(self._config["min_learning_rate"] / self._config["learning_rate"], left)
        return left if self._config["schedule"] == "linear" else ops.ones_like(left)

    def get_config(self) -> dict[str, Any]:
        """Arguments of the constructor."""
        return dict(self._config)


@keras.saving.register_keras_serializable(package="keras_nest")
class FineTuningDecay(keras.optimizers.schedules.LearningRateSchedule):
    """Linear warm-up from 0, then a decay that stays at its end, all in steps.

    The first update has step 0, so that with a warm-up it changes no weight.

    Source: reference `vit_jax/utils.py`, `create_learning_rate_schedule`; the square of a sine is its
    0.5 * (1 + cos(pi * progress)).

    Args:
        base_lr: rate at the end of the warm-up.
        total_steps: updates until the end of the decay.
        decay_type: "cosine", to 0, or "linear", to `linear_end`.
        warmup_steps: updates of the warm-up.
        linear_end: see above.
        name: name of the schedule.

    Raises:
        ValueError: unknown decay, or a warm-up that leaves no step to decay.
    """

    def __init__(
        self,
        base_lr: float,
        total_steps: int,
        decay_type: str = "cosine",
        warmup_steps: int = 0,
        linear_end: float = 1e-5,
        name: str = "fine_tuning_decay",
    ) -> None:
        if decay_type not in ("cosine", "linear"):
            raise ValueError(f"decay_type is {decay_type!r}; it must be 'cosine' or 'linear'.")
        if not 0 <= warmup_steps < total_steps:
            raise ValueError(
                f"warmup_steps is {warmup_steps}; it must be at least 0 and below total_steps, {total_steps}."
            )
        self._config = {k: v for k, v in locals().items() if k != "self"}

    def __call__(self, step: Any) -> Any:
        """Rate of the update that follows `step` finished ones; scalar or array (…) -> float32 (…)."""
        step, fields = ops.cast(step, "float32"), self._config
        total, warmup = float(fields["total_steps"]), float(fields["warmup_steps"])
        left = ops.clip((total - step) / (total - warmup), 0.0, 1.0)
        if fields["decay_type"] == "linear":
            rate = fields["linear_end"] + (fields["base_lr"] - fields["linear_end"]) * left
        else:
            rate = fields["base_lr"] * ops.square(ops.sin(0.5 * math.pi * left))
        return rate * ops.minimum(1.0, step / warmup) if warmup else rate

    def at(self, step: Any) -> Any:
        """Rate of update number `step`, counted from 1; scalar or array (…) -> float32 (…)."""
        return self(ops.cast(step, "float32") - 1)

    def get_config(self) -> dict[str, Any]:
        """Arguments of the constructor."""
        return dict(self._config)
