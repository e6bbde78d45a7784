"""AdamW against its definition, Momentum against optax, and what is spared from decay."""

import functools

import jax
import keras
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

import keras_nest
from keras_nest.training import AdamW, Momentum, WarmupDecay, create_optimizer
from keras_nest.training.optimizers import reference_path

RATES = WarmupDecay(0.1, steps_per_epoch=2, num_epochs=4, warmup_epochs=1)
DECAY = 0.3
# Gradients so small that the place of epsilon shows.
GRADIENTS = np.array([[1.0, -2.0, 1e-7], [0.5, 2.0, 2e-7], [-1.0, 0.1, 1e-7]], np.float32)
START = np.array([1.0, -2.0, 3.0], np.float32)


def definition(decay, epsilon=1e-8):
    """AdamW in float64, as the README of the goldens states it."""
    p, m, v = START.astype(float), 0.0, 0.0
    for step, g in enumerate(GRADIENTS.astype(float), 1):
        rate = float(RATES.at(step))
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
        m_hat, v_hat = m / (1 - 0.9**step), v / (1 - 0.999**step)
        p = p - rate * m_hat / (np.sqrt(v_hat) + epsilon) - rate * decay * p
    return p


def result(optimizer):
    variable = keras.Variable(START)
    optimizer.build([variable])
    for gradient in GRADIENTS:
        optimizer.apply([keras.ops.convert_to_tensor(gradient)], [variable])
    return keras.ops.convert_to_numpy(variable)


def test_updates_follow_the_definition():
    np.testing.assert_allclose(result(AdamW(RATES, weight_decay=DECAY)), definition(DECAY), rtol=1e-5)


def test_stock_keras_does_not():
    """Why there is a class of our own."""
    stock = result(keras.optimizers.AdamW(RATES, weight_decay=DECAY, epsilon=1e-8))
    assert abs(stock[2] - definition(DECAY)[2]) > 1e-2
    np.testing.assert_allclose(stock[:2], definition(DECAY)[:2], rtol=1e-5)


def test_default_epsilon_is_the_reference_s():
    assert AdamW().epsilon == 1e-8


@pytest.mark.parametrize(
    "optimizer",
    [
        AdamW(RATES, weight_decay=DECAY, beta_2=0.99, use_ema=True, ema_momentum=0.9),
        Momentum(RATES, 0.8, nesterov=True, accumulator_dtype="bfloat16"),
    ],
)
def test_serializes(optimizer):
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(optimizer))
    assert type(again) is type(optimizer)
    assert again.get_config() == optimizer.get_config()
    np.testing.assert_array_equal(result(again), result(optimizer))


UPDATES, SIZE = 5, 4
numbers = st.floats(-4, 4, width=32, allow_subnormal=False)


@functools.cache
def optax_update(momentum, nesterov, dtype):
    """Compiled, as trainings are: op by op, optax rounds the product to the dtype of the accumulator too."""

    def update(value, state, gradient, rate):
        step, state = optax.sgd(rate, momentum, nesterov, accumulator_dtype=dtype).update(gradient, state)
        return optax.apply_updates(value, step), state

    return jax.jit(update)


def follow(optimizer, value, gradients, rates):
    """The variable after updates of an optimizer of Keras with these rates."""
    variable = keras.Variable(value)
    optimizer.build([variable])
    for gradient, rate in zip(gradients, rates, strict=True):
        optimizer.learning_rate = rate
        optimizer.apply([keras.ops.convert_to_tensor(gradient)], [variable])
    return keras.ops.convert_to_numpy(variable)


@pytest.mark.slow
@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    arrays.arrays(np.float32, SIZE, elements=numbers),
    arrays.arrays(np.float32, (UPDATES, SIZE), elements=numbers),
    arrays.arrays(np.float32, UPDATES, elements=st.floats(0, 1, width=32, allow_subnormal=False)),
    st.sampled_from([0.0, 0.5, 0.9, 0.99]),
    st.booleans(),
    st.sampled_from(["float32", "bfloat16"]),
)
def test_momentum_is_that_of_optax(value, gradients, rates, momentum, nesterov, dtype):
    update, expected = optax_update(momentum, nesterov, dtype), value
    state = optax.sgd(0.1, momentum, nesterov, accumulator_dtype=dtype).init(value)
    for gradient, rate in zip(gradients, rates, strict=True):
        expected, state = update(expected, state, gradient, rate)
    optimizer = Momentum(0.1, momentum, nesterov, dtype)
    np.testing.assert_allclose(follow(optimizer, value, gradients, rates), expected, rtol=1e-6, atol=1e-5)
    accumulator, trace = np.asarray(optimizer._momentums[0]), np.asarray(jax.tree.leaves(state)[0])
    assert (accumulator.dtype, trace.dtype) == (dtype, dtype)
    np.testing.assert_allclose(accumulator.astype(np.float32), trace.astype(np.float32), rtol=1e-6, atol=1e-5)


def test_stock_sgd_is_another_update_when_the_rate_changes():
    """It keeps the rate in its accumulator."""
    value, gradients = START, GRADIENTS * 10
    for rates, same in (([0.1, 0.1, 0.1], True), ([0.1, 0.1, 0.01], False)):
        ours = follow(Momentum(0.1, 0.9), value, gradients, rates)
        stock = follow(keras.optimizers.SGD(0.1, 0.9), value, gradients, rates)
        assert np.allclose(ours, stock, rtol=1e-6) == same


def test_accumulator_dtype():
    with pytest.raises(ValueError, match="accumulator_dtype is 'float16'; it must be 'float32' or 'bfloat16'"):
        Momentum(accumulator_dtype="float16")


@pytest.fixture(scope="module")
def model():
    return keras_nest.NesT(3, 16, embedding_dim=4, num_heads=2, num_layers_per_block=(1, 1), init_patch_embed_size=4)


@pytest.mark.parametrize("ignore", [(), ("pos_embedding",), ("pos_embedding", "bias", "scale"), ("_0/LayerNorm_0",)])
def test_decay_spares_what_the_configuration_lists(model, ignore):
    variables = model.trainable_variables
    for variable in variables:
        variable.assign(keras.ops.ones(variable.shape))
    optimizer = create_optimizer(model, "adamw", 0.1, weight_decay=0.5, optim_wd_ignore=ignore)
    optimizer.apply([keras.ops.zeros(variable.shape) for variable in variables], variables)
    for variable in variables:
        spared = any(text in reference_path(variable) for text in ignore)
        np.testing.assert_allclose(variable, 1.0 if spared else 1 - 0.1 * 0.5, rtol=1e-6, err_msg=variable.path)


def test_paths_are_the_reference_s(model):
    paths = {reference_path(v) for v in model.trainable_variables}
    assert "/EncoderNDBlock_1/LayerNorm_0/scale" in paths
    assert "/EncoderNDBlock_1/LayerNorm_0/bias" in paths
    assert "/PositionEmbedding_0/pos_embedding" in paths
    assert not any("gamma" in path or "beta" in path for path in paths)


@pytest.fixture
def fresh():
    """A model of its own, since decay in the loss stays with its variables."""
    return keras_nest.VisionTransformer(2, 4, patch_size=2, hidden_size=4, num_layers=1, num_heads=2, mlp_dim=3)


@pytest.mark.parametrize(
    ("optim", "kind", "decoupled", "in_loss"),
    [
        ("adamw", AdamW, 0.5, False),
        ("adam", AdamW, 0.5, True),
        ("sgd", Momentum, None, True),
        ("momentum", Momentum, None, False),
    ],
)
def test_where_decay_goes(fresh, optim, kind, decoupled, in_loss):
    optimizer = create_optimizer(fresh, optim, RATES, weight_decay=0.5, momentum=0.7)
    assert (type(optimizer), optimizer.weight_decay, optimizer.built) == (kind, decoupled, True)
    if kind is Momentum:
        assert (optimizer.momentum, optimizer.nesterov) == (0.7, optim == "sgd")
    squares = sum(float(keras.ops.sum(v**2)) for v in fresh.trainable_variables if len(v.shape) > 1)
    assert float(sum(fresh.losses)) == pytest.approx(0.5 * 0.5 * squares if in_loss else 0, rel=1e-5)


def test_decay_in_the_loss_spares_vectors(fresh):
    """Biases of queries and keys have an axis for the heads."""
    create_optimizer(fresh, "sgd", 0.1, weight_decay=0.5)
    decayed = {reference_path(v) for v in fresh.trainable_variables if v.regularizer}
    assert {"/cls", "/Transformer/posembed_input/pos_embedding", "/head/kernel"} < decayed
    block = "/Transformer/encoderblock_0/MultiHeadDotProductAttention_0"
    assert {f"{block}/{part}/bias" for part in ("query", "key", "value")} < decayed
    assert not {"/head/bias", f"{block}/out/bias", "/Transformer/encoder_norm/scale"} & decayed


@pytest.mark.parametrize("optim", ["adamw", "sgd"])
def test_average_of_the_weights(fresh, optim):
    """It starts at the first weights, as what is averaged from then on."""
    optimizer = create_optimizer(fresh, optim, 0.1, ema_decay=0.75)
    variables, values = fresh.trainable_variables, []
    for _ in range(3):
        optimizer.apply([keras.ops.ones(v.shape) for v in variables], variables)
        values.append(np.array(variables[0]))
    average = values[0]
    for value in values[1:]:
        average = 0.75 * average + 0.25 * value
    np.testing.assert_allclose(optimizer._model_variables_moving_average[0], average, rtol=1e-5)


def test_dtype_of_the_accumulator(fresh):
    optimizer = create_optimizer(fresh, "momentum", 0.1, optim_dtype="bfloat16")
    assert {variable.dtype for variable in optimizer._momentums} == {"bfloat16"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"optim": "lamb"}, "optim is 'lamb'; it must be one of 'adamw', 'adam', 'sgd', 'momentum'"),
        ({"optim": "momentum", "optim_dtype": "float16"}, "accumulator_dtype is 'float16'; it must be 'float32' or"),
    ],
)
def test_what_is_refused(model, options, message):
    with pytest.raises(ValueError, match=message):
        create_optimizer(model, learning_rate=0.1, **options)
