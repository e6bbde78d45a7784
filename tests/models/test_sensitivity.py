"""Every typical mistake of a port, made on purpose: the comparison with the reference must notice each one."""

from functools import partial

import keras
import ml_dtypes
import numpy as np
import pytest
from keras import ops

from keras_nest import conversion
from keras_nest.layers import block_aggregation, encoder, normalization
from tests import keras_models
from tests.golden import loading

HEADS = {0: 3, 1: 6, 2: 12, 3: 12}  # of the encoder layers of small_mh_scale2


def _layer(path):
    return int(path.split("EncoderNDBlock_")[1].split("/")[0])


def _is(path, *ends):
    return any(path.endswith(end) for end in ends)


def kv_outer(path, value):
    """Key and value read as the outer axis instead of inside each head."""
    if _is(path, "DenseGeneral_1/kernel", "DenseGeneral_1/bias"):
        *lead, heads, double = value.shape
        return np.moveaxis(value.reshape(*lead, 2, heads, double // 2), -3, -2).reshape(value.shape)
    return value


def halves_swapped(path, value):
    if _is(path, "DenseGeneral_1/kernel", "DenseGeneral_1/bias"):
        return np.concatenate(np.split(value, 2, axis=-1)[::-1], axis=-1)
    return value


def query_scale(path, value, power_of_dim=0.0):
    """Scores scaled by dim^power instead of head_dim^-0.5, made through the query projection."""
    if _is(path, "DenseGeneral_0/kernel", "DenseGeneral_0/bias"):
        heads, head_dim = value.shape[-2:]
        return value * head_dim**0.5 * (heads * head_dim) ** power_of_dim
    return value


def proj_transposed(path, value):
    if path.endswith("proj_kernel"):
        return value.reshape(value.shape[1], value.shape[0], -1).transpose(1, 0, 2)
    return value


def no_positions(path, value):
    return value * 0 if path.endswith("pos_embedding") else value


def blocks_column_first(path, value):
    if not path.endswith("pos_embedding"):
        return value
    side = int(value.shape[1] ** 0.5)
    return value.reshape(1, side, side, *value.shape[2:]).swapaxes(1, 2).reshape(value.shape)


def tokens_column_first(path, value):
    if not path.endswith("pos_embedding"):
        return value
    side = int(value.shape[2] ** 0.5)
    return value.reshape(*value.shape[:2], side, side, -1).swapaxes(2, 3).reshape(value.shape)


def no_projection_bias(path, value):
    return value * 0 if path.endswith("MultiHeadAttention_0/bias") else value


def no_qkv_bias(path, value):
    return value * 0 if _is(path, "DenseGeneral_0/bias", "DenseGeneral_1/bias") else value


def convolutions_transposed(path, value):
    return value.swapaxes(0, 1) if path.endswith("Conv_0/kernel") else value


def rounded(path, value, dtype):
    return value.astype(dtype).astype(np.float32)


def pool_padded_both_sides(x):
    infinity = keras.layers.ZeroPadding2D(1)
    low = ops.min(x) - 1
    return ops.max_pool(infinity(x - low) + low, 3, 2, padding="valid")[:, : x.shape[1] // 2, : x.shape[2] // 2]


def pool_padded_with_zeros(x):
    return ops.max_pool(ops.pad(x, ((0, 0), (0, 1), (0, 1), (0, 0))), 3, 2, padding="valid")


def layer_norm(epsilon):
    return "LayerNorm", lambda **kw: keras.layers.LayerNormalization(epsilon=epsilon, **kw)


# Name in sensitivity.json -> change of the parameters.
PARAMETER_MISTAKES = {
    "kv read as (key/value, heads, head_dim) instead of (heads, key then value)": kv_outer,
    "key and value halves swapped": halves_swapped,
    "queries not scaled": query_scale,
    "queries scaled by dim^-0.5 instead of head_dim^-0.5": partial(query_scale, power_of_dim=-0.5),
    "proj_kernel input read head_dim-major": proj_transposed,
    "no position embeddings": no_positions,
    "blocks enumerated column-first": blocks_column_first,
    "tokens of a block enumerated column-first": tokens_column_first,
    "projection bias dropped": no_projection_bias,
    "qkv biases dropped": no_qkv_bias,
    "conv kernels transposed in space": convolutions_transposed,
    "parameters rounded to bfloat16": partial(rounded, dtype=ml_dtypes.bfloat16),
    "parameters rounded to float16": partial(rounded, dtype=np.float16),
}
# Name in sensitivity.json -> module, attribute and its wrong replacement.
CODE_MISTAKES = {
    "exact (erf) GELU": (encoder, "gelu", partial(ops.gelu, approximate=False)),
    "quick GELU x*sigmoid(1.702x)": (encoder, "gelu", lambda x: x * ops.sigmoid(1.702 * x)),
    "max pool padded (1,1) on both sides": (block_aggregation, "max_pool", pool_padded_both_sides),
    "max pool padded with zeros (0,1)": (block_aggregation, "max_pool", pool_padded_with_zeros),
    "2x2 max pool": (block_aggregation, "max_pool", partial(ops.max_pool, pool_size=2, strides=2)),
}
EPSILONS = {"LayerNorm epsilon 1e-05 everywhere": 1e-5, "LayerNorm epsilon 0.001 everywhere": 1e-3}
# The outputs cannot show it; tests/conversion compares the weights themselves.
INVISIBLE = {"key bias dropped (mathematically no effect)", "unchanged"}


def _is_noticed(model, case):
    return not keras_models.agrees(model, case, keras_models.SMALL_LOGITS, keras_models.SMALL_LEVELS)


def test_the_list_is_complete():
    listed = set(loading.facts("sensitivity")["mistakes"])
    assert listed == {*PARAMETER_MISTAKES, *CODE_MISTAKES, *EPSILONS, *INVISIBLE}


def test_no_mistake_is_not_noticed():
    case = loading.case("small_mh_scale2")
    assert not _is_noticed(keras_models.load(case), case)


@pytest.fixture(scope="module")
def small_model():
    return keras_models.build(loading.case("small_mh_scale2"))


@pytest.mark.parametrize("name", PARAMETER_MISTAKES)
def test_wrong_parameters_are_noticed(name, small_model):
    case = loading.case("small_mh_scale2")
    wrong = {path: PARAMETER_MISTAKES[name](path, value) for path, value in keras_models.tree(case).items()}
    conversion.load_weights(small_model, wrong)
    assert _is_noticed(small_model, case)


@pytest.mark.parametrize("name", CODE_MISTAKES)
def test_wrong_code_is_noticed(name, monkeypatch):
    case = loading.case("small_mh_scale2")
    monkeypatch.setattr(*CODE_MISTAKES[name])
    assert _is_noticed(keras_models.load(case), case)


@pytest.mark.parametrize("name", EPSILONS)
def test_wrong_epsilon_is_noticed(name, monkeypatch):
    case = loading.case("epsilon_probe")
    monkeypatch.setitem(normalization._NORMS, "LN", layer_norm(EPSILONS[name]))
    assert _is_noticed(keras_models.load(case), case)
