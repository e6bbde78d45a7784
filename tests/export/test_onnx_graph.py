"""Operations that are put together again, and those that only look like them."""

import collections

import numpy as np
import onnxruntime
import pytest
import tensorflow as tf
import tf2onnx
from keras import ops

from keras_nest.export.onnx_graph import CONVERTED_OPSET, OPSET, rewriters
from keras_nest.layers.encoder import exact_gelu, gelu

X = np.random.default_rng(0).normal(3, 2, (2, 5, 6)).astype(np.float32)
GAMMA, BETA = (np.random.default_rng(seed).normal(size=6).astype(np.float32) for seed in (1, 2))
ONES, ZEROS = np.ones(6, np.float32), np.zeros(6, np.float32)


def norm(gamma=None, beta=None, axis=-1):
    return lambda x: ops.layer_normalization(x, gamma, beta, axis=axis, epsilon=1e-3)


def tanh_of(factor, power=3.0, half=0.5):
    return lambda x: half * x * (1 + tf.tanh(0.7978845608 * (x + factor * tf.pow(x, power))))


def convert(call):
    """The operations of a file, by kind, and what it computes."""
    spec = [tf.TensorSpec((None, *X.shape[1:]), name="x")]
    proto, _ = tf2onnx.convert.from_function(
        tf.function(lambda x: {"y": call(x)}, input_signature=spec, autograph=False),
        spec,
        opset=CONVERTED_OPSET,
        custom_rewriter=rewriters(),
    )
    del proto.opset_import[:]
    proto.opset_import.add(version=OPSET)
    (output,) = onnxruntime.InferenceSession(proto.SerializeToString()).run(None, {"x": X})
    return collections.Counter(node.op_type for node in proto.graph.node), output


@pytest.mark.parametrize(
    ("call", "kind"),
    [
        (norm(), "LayerNormalization"),
        (norm(GAMMA), "LayerNormalization"),
        (norm(ONES, BETA), "LayerNormalization"),
        (norm(GAMMA, ZEROS), "LayerNormalization"),
        (norm(GAMMA, BETA), "LayerNormalization"),
        (gelu, "Gelu"),
        (exact_gelu, "Gelu"),
        (tanh_of(0.044715), "Gelu"),
        (lambda x: tf.tensordot(x, tf.constant(GAMMA[:, None] * BETA[:4]), 1), "MatMul"),
    ],
)
def test_one_operation(call, kind):
    counts, output = convert(call)
    assert counts == {kind: 1}
    np.testing.assert_allclose(output, call(tf.constant(X)), atol=2e-5, rtol=2e-6)


@pytest.mark.parametrize(
    "call",
    [
        norm(axis=1),
        norm(axis=(1, 2)),
        tanh_of(0.05),
        tanh_of(0.044715, power=2.0),
        tanh_of(0.044715, half=0.25),
        lambda x: 0.5 * tf.reverse(x, [1]) * (1 + tf.math.erf(x * 0.70710678)),
        lambda x: tf.tensordot(x, tf.constant(GAMMA[:5, None] * BETA[:4]), [[1], [0]]),
        lambda x: x * tf.math.rsqrt(tf.reduce_mean(tf.square(x), -1, keepdims=True) + 1e-3) * GAMMA,
    ],
)
def test_what_only_looks_so_stays(call):
    counts, output = convert(call)
    assert not counts.keys() & {"LayerNormalization", "Gelu"}
    np.testing.assert_allclose(output, call(tf.constant(X)), atol=2e-5, rtol=2e-6)
