"""Optimisers as the papers used them."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from keras_nest.names import flax_path

OPTIMIZERS = ("adamw",)


@keras.saving.register_keras_serializable(package="keras_nest")
class AdamW(keras.optimizers.AdamW):
    """AdamW with epsilon added to the bias-corrected root, and 1e-8 by default.

    p_new = p - lr * m_hat / (sqrt(v_hat) + epsilon) - lr * weight_decay * p, with the old p in both terms. Keras'
    own class adds epsilon before the correction, which makes it up to 1 / sqrt(1 - beta_2) = 32 times larger at the
    start and damps parameters with small gradients, and its default is 1e-7.

    Source: flax 0.3.4, `flax.optim.Adam`, which the reference trains with.

    Args:
        learning_rate: rate or schedule.
        weight_decay: decay, times the learning rate, of what is not excluded with `exclude_from_weight_decay`.
        epsilon: added to the root.
        **kwargs: as for `keras.optimizers.AdamW`.
    """

    def __init__(
        self, learning_rate: Any = 0.001, weight_decay: float = 0.004, epsilon: float = 1e-8, **kwargs: Any
    ) -> None:
        super().__init__(learning_rate, weight_decay=weight_decay, epsilon=epsilon, **kwargs)

    def update_step(self, gradient: Any, variable: keras.Variable, learning_rate: Any) -> None:
        """One update; the corrections are scalars, applied to the rate and to epsilon."""
        dtype, index = variable.dtype, self._get_variable_index(variable)
        mean, square = self._momentums[index], self._velocities[index]
        gradient, step = ops.cast(gradient, dtype), ops.cast(self.iterations + 1, dtype)
        mean_share = 1 - ops.power(ops.cast(self.beta_1, dtype), step)
        root_share = ops.sqrt(1 - ops.power(ops.cast(self.beta_2, dtype), step))
        rate = ops.cast(learning_rate, dtype) * root_share / mean_share
        self.assign_add(mean, (gradient - mean) * (1 - self.beta_1))
        self.assign_add(square, (ops.square(gradient) - square) * (1 - self.beta_2))
        self.assign_sub(variable, rate * mean / (ops.sqrt(square) + self.epsilon * root_share))


def create_optimizer(
    model: keras.Model,
    optim: str,
    learning_rate: Any,
    weight_decay: float = 0.0,
    optim_wd_ignore: Sequence[str] = (),
) -> keras.optimizers.Optimizer:
    """The optimiser that a configuration describes, built for a model.

    Args:
        model: the model to train.
        optim: "adamw".
        learning_rate: rate or schedule.
        weight_decay: decoupled decay, times the learning rate.
        optim_wd_ignore: a parameter is spared when one of these strings occurs anywhere in "/" + its path in the
            reference ("/EncoderNDBlock_0/LayerNorm_0/scale"). The published configurations list "pos_embedding" only.

    Returns:
        An optimiser for `model.trainable_variables`.

    Raises:
        ValueError: unknown optimiser.
    """
    if optim not in OPTIMIZERS:
        raise ValueError(f"optim is {optim!r}; it must be one of {', '.join(map(repr, OPTIMIZERS))}.")
    optimizer = AdamW(learning_rate, weight_decay=weight_decay)
    spared = [v for v in model.trainable_variables if any(text in reference_path(v) for text in optim_wd_ignore)]
    optimizer.exclude_from_weight_decay(var_list=spared)
    optimizer.build(model.trainable_variables)
    return optimizer


def reference_path(variable: keras.Variable) -> str:
    """Path of a trainable variable under the reference's names, after a slash."""
    return flax_path(variable.path).removeprefix("params")
