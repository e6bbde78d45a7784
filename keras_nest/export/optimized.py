"""Networks for servers without an accelerator: what TensorFlow's oneDNN kernels fuse.

What these kernels need, and what was tried besides, is in docs/development/speed.md.
"""

import dataclasses
import math
from collections.abc import Callable, Iterable
from typing import Any

import keras
import tensorflow as tf

from keras_nest.backends import require_tensorflow
from keras_nest.choices import OPTIMIZATIONS, SAVED_MODEL_PRECISIONS
from keras_nest.export.inference import in_precision
from keras_nest.export.network import TO_A_FILE, Carrier
from keras_nest.keras_private import with_constants
from keras_nest.layers.formulation import Formulation, formulated

# The graph is one message of Protocol Buffers, which may have 2 GiB; what is not weights has some MB.
_MOST_BYTES = 2**31 - 2**26


class OptimizedCarrier(Carrier):
    """Brings networks for inference alone: what is computed of weights alone is computed here, and kept.

    In float32 weights stay variables. In bfloat16 they are constants of the function: oneDNN lays such kernels out for
    its instructions once, and those of variables in each call; but TensorFlow copies constants some 25 times when it
    loads and optimizes a graph.
    """

    whole = False

    def __init__(self) -> None:
        super().__init__()
        self._held: list[tf.Variable] = []

    @property
    def trains(self) -> bool:
        """No: a kernel that was put together does not follow its parts."""
        return False

    def variables(self, variables: Iterable[keras.Variable]) -> list[tf.Variable]:
        """None that TF-Hub should know."""
        return []

    def held(self) -> list[tf.Variable]:
        """What functions of this carrier read, and the SavedModel must hold."""
        return self._held

    def function(self, network: keras.Model) -> Callable[..., Any]:
        """A function (inputs, training=False), as `Carrier.function`.

        Raises:
            ValueError: Keras does not run on TensorFlow, or the weights do not fit into a graph.
        """
        require_tensorflow('optimize="cpu"', TO_A_FILE.format("saved_model --optimize cpu"))
        as_constants = any(layer.compute_dtype == "bfloat16" for layer in network.layers)
        if as_constants:
            _check_size(network)
        kept = [] if as_constants else _results_of_weights(network)

        @tf.function(input_signature=[tf.TensorSpec(network.inputs[0].shape)], autograph=False)
        def infer(inputs: tf.Tensor) -> Any:
            results = iter(kept)
            with formulated(OPTIMIZED if as_constants else _with_weights(lambda _: _read(next(results)))):
                return network(inputs, training=False)

        traced = infer.get_concrete_function()
        function = with_constants(traced) if as_constants else traced
        self._held += function.variables
        structure = traced.structured_outputs

        def call(inputs: tf.Tensor, training: bool = False) -> Any:
            return tf.nest.pack_sequence_as(structure, tf.nest.flatten(function(inputs)))

        return call


def _results_of_weights(network: keras.Model) -> list[list[tf.Variable | None]]:
    """What a network computes of weights alone, in the order in which it does."""
    kept = []

    def keep(make: Callable[[], Any]) -> Any:
        kept.append([None if value is None else tf.Variable(value, trainable=False) for value in make()])
        return _read(kept[-1])

    with formulated(_with_weights(keep)):
        network(tf.zeros((1, *network.inputs[0].shape[1:])), training=False)
    return kept


def _with_weights(of_weights: Callable[[Callable[[], Any]], Any]) -> Formulation:
    return dataclasses.replace(OPTIMIZED, of_weights=of_weights)


def _read(variables: Iterable[tf.Variable | None]) -> list[tf.Tensor | None]:
    return [None if variable is None else tf.convert_to_tensor(variable) for variable in variables]


def _check_size(network: keras.Model) -> None:
    size = sum(math.prod(weight.shape) * tf.as_dtype(weight.dtype).size for weight in network.variables)
    if size > _MOST_BYTES:
        raise ValueError(
            f"The model {network.name!r} has {size / 2**30:.1f} GiB of weights, and optimize takes at most "
            f"{_MOST_BYTES / 2**30:.1f} with precision bfloat16, since they become part of the graph; leave that out."
        )


def optimized_model(model: keras.Model, optimize: str | None, precision: str | None) -> keras.Model:
    """The model in the precision that is asked for, after the check of both options.

    Args:
        model: a built model.
        optimize: one of `OPTIMIZATIONS`, or None.
        precision: one of `SAVED_MODEL_PRECISIONS`, or None for the model's own.

    Raises:
        ValueError: an option is unknown, they do not go together, or the model cannot compute in that precision.
    """
    if optimize is not None and optimize not in OPTIMIZATIONS:
        raise ValueError(f"optimize is {optimize!r}; it must be {' or '.join(map(repr, OPTIMIZATIONS))}.")
    if precision is None:
        return model
    if precision not in SAVED_MODEL_PRECISIONS:
        known = " or ".join(map(repr, SAVED_MODEL_PRECISIONS))
        raise ValueError(f"precision is {precision!r}; of a SavedModel it must be {known}.")
    if optimize is None:
        raise ValueError(f'precision {precision!r} of a SavedModel needs optimize="cpu" (--optimize cpu) with it.')
    return in_precision(model, precision)


def fused_layer_norm(x: tf.Tensor, gamma: Any, beta: Any, epsilon: float) -> tf.Tensor:
    """Layer normalization over the last axis, written so that TensorFlow's graph optimizer knows it.

    With oneDNN it becomes one operation. Without, it is what TensorFlow's own Keras 2 computes: the batch
    normalization of one image whose channels are the rows. Of float64 there is none, so it stays Keras' own.

    Args:
        x: floating point (…, C).
        gamma: (C,).
        beta: (C,).
        epsilon: added to the variance.
    """
    if x.dtype == tf.float64:
        return keras.ops.layer_normalization(x, gamma, beta, epsilon=epsilon)
    *middle, channels = x.shape[1:]
    rows = tf.reshape(x, (-1, channels))
    count = tf.shape(rows)[0]
    as_image = tf.reshape(rows, (1, count, channels, 1))
    normalized, *_ = tf.compat.v1.nn.fused_batch_norm(
        as_image, tf.ones((count,)), tf.zeros((count,)), epsilon=epsilon, data_format="NCHW"
    )
    normalized = tf.reshape(normalized, tf.shape(rows))
    y = normalized * tf.cast(gamma, x.dtype) + tf.cast(beta, x.dtype)
    return tf.reshape(y, (-1, *middle, channels))


OPTIMIZED = Formulation(one_projection=True, softmax=None, layer_norm=fused_layer_norm)
