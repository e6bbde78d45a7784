"""What a training's gradients are like, step by step."""

from typing import Any

import keras
from keras import ops

from keras_nest.training.replicas import replicas


class GradientWatch:
    """Mean norm of the gradient, and whether everything was finite; not among the metrics, which users name."""

    def __init__(self) -> None:
        self._norm, self._finite = keras.metrics.Mean(name="grad_norm"), keras.metrics.Sum(name="finite_steps")

    def update(self, loss: Any, norm: Any, is_skipped: Any = False) -> None:
        """Counts a step.

        Args:
            loss: its loss, or the sum of losses so far; scalar, as the next two.
            norm: of its gradient.
            is_skipped: whether its gradient, which is not finite, is followed by nothing, as loss scaling has it.
        """
        weight = None
        if is_skipped is not False:
            norm = ops.where(is_skipped, 0.0, norm)
            weight = ops.where(is_skipped, 0.0, 1.0)
        self._norm.update_state(norm, sample_weight=weight)
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
