"""What a training's gradients are like, step by step."""

from typing import Any

import keras
from keras import ops

from keras_nest.training.distributed_optimizer import replicas


class GradientWatch:
    """Mean norm of the gradient, and whether everything was finite; not among the metrics, which users name."""

    def __init__(self) -> None:
        self._norm, self._finite = keras.metrics.Mean(name="grad_norm"), keras.metrics.Sum(name="finite_steps")

    def update(self, loss: Any, norm: Any) -> None:
        """Counts a step: its loss, or the sum of losses so far, and the norm of its gradient; scalars."""
        self._norm.update_state(norm)
        self._finite.update_state(ops.cast(ops.isfinite(loss + norm), "float32") / replicas())

    def reset(self) -> None:
        """Starts anew."""
        self._norm.reset_state()
        self._finite.reset_state()

    @property
    def variables(self) -> list[keras.Variable]:
        """What it remembers."""
        return [*self._norm.variables, *self._finite.variables]

    @property
    def norm(self) -> float:
        """Mean over the steps since `reset`."""
        return float(self._norm.result())

    @property
    def finite_steps(self) -> int:
        """Steps since `reset` until something became infinite or not a number."""
        return int(float(self._finite.result()) + 1e-3)
