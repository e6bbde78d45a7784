"""Gradients inside a model: of its logits with respect to endpoints, on TensorFlow and on JAX."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from keras_nest.backends import require_tensorflow


class Pullback(NamedTuple):
    """Logits of images and values of endpoints, with what leads back from the ones to the others.

    Attributes:
        logits: float32 (B, …).
        values: one for each endpoint.
        pull: from the gradient of a number with respect to the logits, float32 (B, …), to its gradients with respect to
            the values; None for one that the logits do not depend on.
    """

    logits: tf.Tensor
    values: list[tf.Tensor]
    pull: Callable[[tf.Tensor], list[tf.Tensor | None]]


def pull_back(model: Any, images: tf.Tensor, names: Sequence[str]) -> Pullback:
    """Computes the logits and endpoints of images in one pass.

    Args:
        model: with `endpoints`, "logits" among them.
        images: (B, H, W, C) as the model takes them.
        names: of the endpoints.

    Raises:
        ValueError: Keras runs neither on TensorFlow nor on JAX.
    """
    symbols = [model.endpoints[name] for name in ("logits", *names)]
    network = keras.Model(model.inputs, symbols)
    if keras.backend.backend() == "jax":
        return _in_jax(network, images)
    require_tensorflow(
        "Explaining with gradients", "save the model and run keras-nest explain IMAGES --model FILE.keras"
    )
    return _in_tensorflow(network, images)


def _in_tensorflow(network: keras.Model, images: tf.Tensor) -> Pullback:
    with tf.GradientTape() as tape:
        # Not the variables, whose gradients nobody asks for.
        tape.watch(images)
        logits, *values = network([images], training=False)
        logits = tf.cast(logits, tf.float32)
    return Pullback(logits, values, lambda gradient: tape.gradient(logits, values, output_gradients=gradient))


def _in_jax(network: keras.Model, images: tf.Tensor) -> Pullback:
    """The program of the model is run once more, with a zero added to each endpoint where it is made.

    JAX follows gradients to what goes into a function only, and endpoints come up in the midst of layers.
    """
    import jax

    def compute(images: Any) -> list[Any]:
        logits, *values = network([images], training=False)
        return [keras.ops.cast(logits, "float32"), *values]

    program = jax.make_jaxpr(compute)(np.asarray(images))
    logits, *values = program.jaxpr.outvars
    zeros = [jax.numpy.zeros(value.aval.shape, value.aval.dtype) for value in values]

    def answer(added: list[Any]) -> tuple[Any, list[Any]]:
        outputs = _run(program, np.asarray(images), list(zip(values, added, strict=True)))
        return outputs[0], outputs[1:]

    # Not compiled: the operations are, once for all, while this function would be compiled for every call.
    found, pull, seen = jax.vjp(answer, zeros, has_aux=True)
    followed = _ancestors(program.jaxpr, logits)

    def pull_in_tensorflow(gradient: tf.Tensor) -> list[tf.Tensor | None]:
        (gradients,) = pull(jax.numpy.asarray(gradient))
        pairs = zip(values, gradients, strict=True)
        return [tf.convert_to_tensor(gradient) if value in followed else None for value, gradient in pairs]

    return Pullback(tf.convert_to_tensor(found), list(map(tf.convert_to_tensor, seen)), pull_in_tensorflow)


def _run(program: Any, images: Any, additions: Sequence[tuple[Any, Any]]) -> list[Any]:
    """Outputs of a program of JAX, in which something is added to variables where they are made.

    Source: JAX's guide "Writing custom Jaxpr interpreters".
    """
    from jax.core import eval_jaxpr
    from jax.extend.core import Literal

    jaxpr, known = program.jaxpr, {}

    def write(variables: Sequence[Any], made: Sequence[Any]) -> None:
        for variable, value in zip(variables, made, strict=True):
            known[variable] = sum((addition for target, addition in additions if target is variable), start=value)

    def read(variable: Any) -> Any:
        return variable.val if isinstance(variable, Literal) else known[variable]

    write((*jaxpr.constvars, *jaxpr.invars), (*program.consts, images))
    for step in jaxpr.eqns:
        taken = [variable for variable in step.invars if not isinstance(variable, Literal)]
        alone = jaxpr.replace(constvars=[], invars=taken, eqns=[step], outvars=step.outvars)
        write(step.outvars, eval_jaxpr(alone, [], *map(read, taken)))
    return list(map(read, jaxpr.outvars))


def _ancestors(jaxpr: Any, output: Any) -> set[Any]:
    """Variables that an output is made of, and itself."""
    from jax.extend.core import Literal

    found = {output}
    for step in reversed(jaxpr.eqns):
        if not found.isdisjoint(step.outvars):
            found.update(variable for variable in step.invars if not isinstance(variable, Literal))
    return found
