"""Optimizers as the papers used them."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from keras_nest.keras_private import DecayInUpdateStep, SummedGradients, adam_slots, variable_index
from keras_nest.names import flax_path
from keras_nest.training.distributed_optimizer import DistributedUpdates
from keras_nest.training.layer_rates import LayerRates

OPTIMIZERS = ("adamw", "adam", "sgd", "momentum")


@keras.saving.register_keras_serializable(package="keras_nest")
class AdamW(LayerRates, DistributedUpdates, SummedGradients, DecayInUpdateStep, keras.optimizers.AdamW):
    """AdamW with epsilon added to the bias-corrected root, and 1e-8 by default.

    p_new = p - lr * m_hat / (sqrt(v_hat) + epsilon) - lr * weight_decay * p, with the old p in both terms. Keras'
    own class adds epsilon before the correction, which makes it up to 1 / sqrt(1 - beta_2) = 32 times larger at the
    start and damps parameters with small gradients, and its default is 1e-7.

    Source: flax 0.3.4, `flax.optim.Adam`, which the reference trains with.

    Args:
        learning_rate: rate or schedule.
        weight_decay: decay, times the learning rate, of what is not excluded with `exclude_from_weight_decay`.
        epsilon: added to the root.
        **kwargs: as for `keras.optimizers.AdamW`, and `clip_norm` and `accum_steps`, see `DistributedUpdates`.
    """

    def __init__(
        self, learning_rate: Any = 0.001, weight_decay: float = 0.004, epsilon: float = 1e-8, **kwargs: Any
    ) -> None:
        super().__init__(learning_rate, weight_decay=weight_decay, epsilon=epsilon, **kwargs)

    def update_step(self, gradient: Any, variable: keras.Variable, learning_rate: Any) -> None:
        """One update; the corrections are scalars, applied to the rate and to epsilon."""
        dtype, (mean, square) = variable.dtype, adam_slots(self, variable)
        gradient, step = ops.cast(gradient, dtype), ops.cast(self.iterations + 1, dtype)
        mean_share = 1 - ops.power(ops.cast(self.beta_1, dtype), step)
        root_share = ops.sqrt(1 - ops.power(ops.cast(self.beta_2, dtype), step))
        rate = ops.cast(self.rate_of(variable, learning_rate), dtype)
        self.assign_add(mean, (gradient - mean) * (1 - self.beta_1))
        self.assign_add(square, (ops.square(gradient) - square) * (1 - self.beta_2))
        update = rate * root_share / mean_share * mean / (ops.sqrt(square) + self.epsilon * root_share)
        if self.is_decayed(variable):
            update = update + rate * self.weight_decay * variable
        self.assign_sub(variable, update)


@keras.saving.register_keras_serializable(package="keras_nest")
class Momentum(LayerRates, DistributedUpdates, SummedGradients, keras.optimizers.Optimizer):
    """Stochastic gradient descent with momentum as Flax and optax have it: the learning rate stays outside.

    m_new = g + momentum * m; p_new = p - lr * m_new, or with Nesterov p - lr * (g + momentum * m_new). Keras' own SGD
    keeps lr * g in its accumulator, which is another update as soon as the rate changes.

    With a bfloat16 accumulator, its factor is rounded to bfloat16 too (0.9 becomes 0.8984375), products and sums are
    float32, and what the accumulator loses is not lost in this update, nor in Nesterov's look ahead.

    Source: `flax.optim.Momentum` (NesT, Nesterov) and `optax.sgd` with `accumulator_dtype` (ViT, Mixer).

    Args:
        learning_rate: rate or schedule.
        momentum: share of the accumulator that is kept, in [0, 1).
        nesterov: look ahead.
        accumulator_dtype: "float32" or "bfloat16".
        name: name of the optimizer.
        **kwargs: as for `keras.optimizers.Optimizer`, and `clip_norm` and `accum_steps`, see `DistributedUpdates`.

    Raises:
        ValueError: another dtype.
    """

    def __init__(
        self,
        learning_rate: Any = 0.01,
        momentum: float = 0.9,
        nesterov: bool = False,
        accumulator_dtype: str = "float32",
        name: str = "momentum",
        **kwargs: Any,
    ) -> None:
        if accumulator_dtype not in ("float32", "bfloat16"):
            raise ValueError(f"accumulator_dtype is {accumulator_dtype!r}; it must be 'float32' or 'bfloat16'.")
        super().__init__(learning_rate, name=name, **kwargs)
        self.momentum, self.nesterov, self.accumulator_dtype = momentum, nesterov, accumulator_dtype

    def build(self, variables: Sequence[keras.Variable]) -> None:
        if self.built:
            return
        super().build(variables)
        self._momentums = [
            self.add_variable(v.shape, dtype=self.accumulator_dtype, name=f"{v.path.replace('/', '_')}_momentum")
            for v in variables
        ]

    def update_step(self, gradient: Any, variable: keras.Variable, learning_rate: Any) -> None:
        """One update."""
        accumulator, dtype = self._momentums[variable_index(self, variable)], variable.dtype
        gradient = ops.cast(gradient, dtype)
        momentum = ops.cast(ops.cast(self.momentum, accumulator.dtype), dtype)
        step = gradient + momentum * ops.cast(accumulator, dtype)
        self.assign(accumulator, step)
        step = gradient + self.momentum * step if self.nesterov else step
        self.assign_sub(variable, ops.cast(self.rate_of(variable, learning_rate), dtype) * step)

    def get_config(self) -> dict[str, Any]:
        """Arguments of the constructor."""
        own = {name: getattr(self, name) for name in ("momentum", "nesterov", "accumulator_dtype")}
        return {**super().get_config(), **own}


def create_optimizer(
    model: keras.Model,
    optim: str,
    learning_rate: Any,
    weight_decay: float = 0.0,
    optim_wd_ignore: Sequence[str] = (),
    momentum: float = 0.9,
    optim_dtype: str = "float32",
    ema_decay: float = 0.0,
) -> keras.optimizers.Optimizer:
    """The optimizer that a configuration describes, built for a model.

    Args:
        model: the model to train.
        optim: one of `OPTIMIZERS`. "adamw" has decoupled decay, times the learning rate; "sgd" is Nesterov's, with the
            decay as a term 0.5 * weight_decay * sum(p**2) of the loss, over parameters with two axes or more; "adam"
            has both, as the reference does; "momentum" has no decay.
        learning_rate: rate or schedule.
        weight_decay: see above.
        optim_wd_ignore: a parameter is spared the decoupled decay when one of these strings occurs anywhere in "/" +
            its path in the reference ("/EncoderNDBlock_0/LayerNorm_0/scale"). The published configurations list
            "pos_embedding" only.
        momentum: of "sgd" and "momentum".
        optim_dtype: dtype of the accumulator of "momentum".
        ema_decay: the average of the weights keeps this share at each step; 0 is without an average.

    Returns:
        An optimizer for `model.trainable_variables`.

    Raises:
        ValueError: unknown optimizer or dtype.
    """
    if optim not in OPTIMIZERS:
        raise ValueError(f"optim is {optim!r}; it must be one of {', '.join(map(repr, OPTIMIZERS))}.")
    average: dict[str, Any] = {"use_ema": True, "ema_momentum": ema_decay} if ema_decay else {}
    if optim in ("adamw", "adam"):
        optimizer = AdamW(learning_rate, weight_decay=weight_decay, **average)
        spared = [v for v in model.trainable_variables if any(text in reference_path(v) for text in optim_wd_ignore)]
        optimizer.exclude_from_weight_decay(var_list=spared)
    else:
        optimizer = Momentum(learning_rate, momentum, optim == "sgd", optim_dtype, **average)
    if optim in ("adam", "sgd") and weight_decay:
        add_decay_to_loss(model, weight_decay)
    optimizer.build(model.trainable_variables)
    return optimizer


def add_decay_to_loss(model: keras.Model, weight_decay: float) -> None:
    """Adds 0.5 * weight_decay * sum(p**2) to the loss, over the parameters with two axes or more.

    Those are kernels and position embeddings, and the biases of queries and keys, which have an axis for the heads.
    """
    for variable in model.trainable_variables:
        if len(variable.shape) > 1:
            variable.regularizer = keras.regularizers.L2(0.5 * weight_decay)


def reference_path(variable: keras.Variable) -> str:
    """Path of a trainable variable under the reference's names, after a slash."""
    return flax_path(variable.path).removeprefix("params")
