"""Networks for servers without an accelerator: what TensorFlow's oneDNN kernels fuse, with weights as constants.

What these kernels need, and what was tried besides, is in docs/development/speed.md.
"""

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
    """Brings networks for inference alone: their weights are constants of the function, which has no variables."""

    whole = False

    @property
    def trains(self) -> bool:
        """No: constants do not change."""
        return False

    def variables(self, variables: Iterable[keras.Variable]) -> list[tf.Variable]:
        """None: they are in the function."""
        return []

    def function(self, network: keras.Model) -> Callable[..., Any]:
        """A function (inputs, training=False), as `Carrier.function`.

        Raises:
            ValueError: Keras does not run on TensorFlow, or the weights do not fit into a graph.
        """
        require_tensorflow('optimize="cpu"', TO_A_FILE.format("saved_model --optimize cpu"))
        size = sum(weight.shape.num_elements() * weight.dtype.size for weight in super().variables(network.variables))
        if size > _MOST_BYTES:
            raise ValueError(
                f"The model {network.name!r} has {size / 2**30:.1f} GiB of weights, and optimize takes at most "
                f"{_MOST_BYTES / 2**30:.1f}, since they become part of the graph; leave it out."
            )

        @tf.function(input_signature=[tf.TensorSpec(network.inputs[0].shape)], autograph=False)
        def infer(inputs: tf.Tensor) -> Any:
            with formulated(OPTIMIZED):
                return network(inputs, training=False)

        traced = infer.get_concrete_function()
        frozen = with_constants(traced)
        structure = traced.structured_outputs

        def call(inputs: tf.Tensor, training: bool = False) -> Any:
            return tf.nest.pack_sequence_as(structure, tf.nest.flatten(frozen(inputs)))

        return call


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
