"""Blocks that compute their intermediates again: the same training in less memory."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_nest import layers
from keras_nest.models.mixer import MixerBlock
from keras_nest.training import create_strategy
from tests import families

RATES = {"dropout_rate": 0.3, "attention_dropout_rate": 0.2}
BLOCKS = {
    "ViT": (lambda **fields: layers.Encoder1DBlock(2, 16, **RATES, **fields), (6, 8)),
    "NesT": (lambda **fields: layers.EncoderNDBlock(2, attn_drop=0.2, stochastic_depth=0.4, **fields), (4, 6, 8)),
    "Mixer": (lambda **fields: MixerBlock(4, 16, **fields), (6, 8)),
}


def block(kind, dtype=None, **fields):
    """A block with drawn weights and seeds, and inputs for it."""
    make, shape = BLOCKS[kind]
    layer = make(name="block", dtype=dtype, **fields)
    layer.build((None, *shape))
    rng = np.random.default_rng(0)
    for variable in layer.variables:
        draw = rng.standard_normal(variable.shape) / 2 if "float" in variable.dtype else rng.integers(99, size=2)
        variable.assign(draw)
    return layer, tf.constant(rng.standard_normal((3, *shape)), tf.float32)


def step(layer, x):
    """Output, gradients and random states of a training step."""
    with tf.GradientTape() as tape:
        tape.watch(x)
        y, _ = layer(x, training=True)
        loss = tf.reduce_mean(tf.cast(y, "float32") ** 2)
    variables = [variable.value for variable in layer.trainable_variables]
    return y, *tape.gradient(loss, [x, *variables]), *(variable.value for variable in layer.non_trainable_variables)


def kept_bytes(layer, x):
    """What the backward pass reads of the forward pass."""
    graph = tf.function(step).get_concrete_function(layer, x).graph
    backward: set[tf.Operation] = set()
    for operation in graph.get_operations():  # in the order of their creation
        if operation.name.startswith("gradient_tape") or backward & {tensor.op for tensor in operation.inputs}:
            backward.add(operation)
    read = {tensor.ref() for operation in backward for tensor in operation.inputs if tensor.op not in backward}
    held = [ref.deref() for ref in read]
    known = [each for each in held if each.dtype.is_floating and each.op.type not in ("Const", "ReadVariableOp")]
    return sum(each.shape.num_elements() * each.dtype.size for each in known)


@pytest.mark.parametrize("kind", ["NesT", "Mixer", pytest.param("ViT", marks=pytest.mark.slow)])
def test_training_is_the_same_in_less_memory(kind):
    (plain, x), (again, _) = block(kind), block(kind, remat=True)
    assert [v.path for v in again.variables] == [v.path for v in plain.variables]
    for ours, theirs in zip(step(again, x), step(plain, x), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-6)
    assert kept_bytes(again, x) < kept_bytes(plain, x) / 3


def test_every_call_draws_other_masks():
    layer, x = block("ViT", remat=True)
    assert np.abs(layer(x, training=True)[0] - layer(x, training=True)[0]).max() > 0
    np.testing.assert_array_equal(layer(x)[0], layer(x)[0])


def test_mixed_precision():
    (plain, x), (again, _) = block("ViT", "mixed_bfloat16"), block("ViT", "mixed_bfloat16", remat=True)
    for ours, theirs in zip(step(again, x), step(plain, x), strict=True):
        np.testing.assert_allclose(tf.cast(ours, "float32"), tf.cast(theirs, "float32"), rtol=0.02, atol=1e-3)


def test_intermediates_have_gradients():
    (plain, x), (again, _) = block("ViT"), block("ViT", remat=True)
    found = []
    for layer in (plain, again):
        with tf.GradientTape() as tape:
            parts = layer(x, training=True)[1]
            loss = tf.reduce_mean(parts["MlpBlock_0"] ** 2) + tf.reduce_mean(parts["LayerNorm_0"] ** 3)
        found.append(tape.gradient(loss, layer.mlp.dense[0].kernel.value))
    np.testing.assert_allclose(*found, atol=1e-6)


@pytest.mark.parametrize("make", [families.vit, families.nest])
def test_is_a_field_of_models(make):
    model = make(remat=True)
    blocks = [layer for layer in model._flatten_layers() if hasattr(layer, "remat") and hasattr(layer, "mlp")]
    assert blocks
    assert all(layer.remat for layer in blocks)
    assert type(model).from_config(model.get_config()).config["remat"] is True
    assert make().config["remat"] is False


def test_statistics_of_batches_would_be_updated_twice():
    with pytest.raises(ValueError, match='norm_type "BN" do not go together'):
        layers.EncoderNDBlock(2, norm_type="BN", remat=True)


def test_a_scope_of_keras_is_refused():
    with (
        keras.RematScope(mode="full"),
        pytest.raises(ValueError, match=r"create the model outside of it with remat=True"),
    ):
        families.vit()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["one_device", "mirrored"])
def test_fit_learns_the_same(name):
    x, y = np.random.default_rng(0).standard_normal((8, 16, 16, 3), np.float32), np.arange(8) % 3
    learned = []
    with create_strategy(name).scope():
        for remat in (False, True):
            model = families.vit(**RATES, remat=remat)
            for i, variable in enumerate(model.variables):
                if "seed" in variable.path:
                    variable.assign([i, 0])
                else:
                    variable.assign(np.random.default_rng(i).standard_normal(variable.shape) / 4)
            model.compile(keras.optimizers.SGD(0.1), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
            model.fit(x, y, batch_size=4, epochs=2, shuffle=False, verbose=0)
            learned.append(model.get_weights())
    for ours, theirs in zip(*learned, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)
