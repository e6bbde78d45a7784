"""Train steps of this package and of Flax with optax, as calls that make one update."""

import os
from collections.abc import Callable, Iterator
from typing import Any

os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax
import jax.numpy as jnp
import keras
import numpy as np
import optax
import tensorflow as tf

from keras_nest.conversion import flax_reference
from keras_nest.models.losses import cross_entropy
from keras_nest.training import AdamW, Trainer

RATE, DECAY = 1e-3, 0.05
"""Learning rate and decoupled weight decay of AdamW."""


def keras_step(
    model: keras.Model, batches: tf.data.Dataset, jit_compile: bool = False, use_ema: bool = False, **options: Any
) -> Callable[[], Any]:
    """A call that makes one update.

    Args:
        model: to train.
        batches: endless.
        jit_compile: under XLA.
        use_ema: keeps an average of the weights.
        **options: of `Trainer`.
    """
    trainer = Trainer(model, **options)
    trainer.log_every_step = False
    trainer.compile(AdamW(RATE, weight_decay=DECAY, use_ema=use_ema), cross_entropy, jit_compile=jit_compile)
    trainer.make_train_function()
    iterator: Iterator[Any] = iter(batches.prefetch(tf.data.AUTOTUNE))
    return lambda: (trainer.train_function(iterator), trainer.optimizer.iterations.numpy())


def flax_step(model: keras.Model, images: np.ndarray, labels: np.ndarray, *, mixed: bool = False) -> Callable[[], Any]:
    """A call that makes one update of the Flax module of the same configuration.

    Args:
        model: whose configuration it is.
        images: (B, H, W, 3).
        labels: (B,), classes.
        mixed: forward and backward pass in bfloat16, of weights that stay float32.
    """
    module = flax_reference.for_config(type(model).__name__, model.config)
    optimizer = optax.adamw(RATE, weight_decay=DECAY)
    inputs, targets = jnp.asarray(images), jnp.asarray(labels)
    parameters = jax.jit(module.init)(jax.random.key(0), inputs[:1])
    state: dict[str, Any] = {"parameters": parameters, "optimizer": optimizer.init(parameters), "step": 0}

    def to_bfloat16(tree: Any) -> Any:
        return jax.tree.map(lambda x: x.astype(jnp.bfloat16), tree)

    @jax.jit
    def update(parameters: Any, optimizer_state: Any, step: Any) -> tuple[Any, Any, Any]:
        def loss(parameters: Any) -> Any:
            random = {"dropout": jax.random.fold_in(jax.random.key(1), step)}
            weights, x = (parameters, inputs) if not mixed else to_bfloat16((parameters, inputs))
            logits = module.apply(weights, x, train=True, rngs=random).astype(jnp.float32)
            return optax.softmax_cross_entropy_with_integer_labels(logits, targets).mean()

        gradients = jax.grad(loss)(parameters)
        updates, optimizer_state = optimizer.update(gradients, optimizer_state, parameters)
        return optax.apply_updates(parameters, updates), optimizer_state, step + 1

    def step() -> None:
        state["parameters"], state["optimizer"], state["step"] = jax.block_until_ready(
            update(state["parameters"], state["optimizer"], state["step"])
        )

    return step
