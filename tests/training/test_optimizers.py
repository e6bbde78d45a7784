"""AdamW against its definition, and what is spared from decay."""

import keras
import numpy as np
import pytest

import keras_nest
from keras_nest.training import AdamW, WarmupDecay, create_optimizer
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


def test_serialises():
    optimizer = AdamW(RATES, weight_decay=DECAY, beta_2=0.99)
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(optimizer))
    assert isinstance(again, AdamW)
    assert again.get_config() == optimizer.get_config()


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


def test_unknown_optimizer(model):
    with pytest.raises(ValueError, match="optim is 'lamb'; it must be one of 'adamw'"):
        create_optimizer(model, "lamb", 0.1)
