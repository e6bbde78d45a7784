"""Attention projections are quantized and get LoRA as dense layers of Keras do, and files keep it."""

import keras
import numpy as np
import pytest

import keras_nest
from keras_nest import layers
from keras_nest.conversion.names import model_tree
from keras_nest.layers.changes import layers_inside

# What Keras rounds to has 8 bits, or 4, or 3 bits of mantissa.
CLOSE = {"int8": 0.02, "int4": 0.3, "float8": 0.1}
HEADS, BACK = {"features": (2, 4)}, {"features": (6,), "input_axes": (2, 4)}
ATTENTIONS = {
    "multi-head": (layers.MultiHeadAttention, (2, 3, 8)),
    "multi-query": (layers.MultiQueryAttention, (2, 3, 8)),
    "ViT's": (layers.MultiHeadDotProductAttention, (3, 8)),
}
# Each kind, and each mode; what a mode does to a kind is Keras', the same for all.
CASES = [("multi-head", "int8"), ("ViT's", "int4"), ("multi-query", "float8")]
CASES = [CASES[0], *(pytest.param(*each, marks=pytest.mark.slow) for each in CASES[1:])]
KINDS = [pytest.param(kind, marks=[] if kind == "ViT's" else pytest.mark.slow) for kind in ATTENTIONS]


def images(shape, batch=2, seed=0):
    return np.random.default_rng(seed).standard_normal((batch, *shape), np.float32)


def randomize(layer, seed=1):
    rng = np.random.default_rng(seed)
    for variable in layer.weights:
        if "float" in variable.dtype:
            variable.assign(rng.standard_normal(variable.shape) / 2)


def attention(kind):
    """A model of one attention, whose weights are drawn anew; and inputs for it."""
    layer, shape = ATTENTIONS[kind]
    inputs = keras.Input(shape)
    model = keras.Model(inputs, layer(2, name="attention")(inputs))
    randomize(model)
    return model, images(shape)


def projections(model):
    return [layer for layer in layers_inside(model) if hasattr(layer, "enable_lora")]


def through_file(model, path):
    model.save(path)
    return keras.saving.load_model(path)


def with_lora(kind):
    model, x = attention(kind)
    for layer in projections(model):
        layer.enable_lora(2, lora_alpha=3)
    rng = np.random.default_rng(2)
    for variable in model.trainable_variables:
        if variable.name.startswith("lora_"):
            variable.assign(rng.standard_normal(variable.shape) / 4)
    return model, x


class TestDenseGeneral:
    @pytest.mark.slow
    @pytest.mark.parametrize(("arguments", "mode"), [(HEADS, "int8"), (BACK, "int4"), (BACK, "float8")])
    def test_is_quantized_as_keras_quantizes_its_own(self, mode, arguments):
        x = images((5, 8))
        ours = layers.DenseGeneral(**arguments)
        ours.build(x.shape)
        if "input_axes" in arguments:
            stock, theirs = keras.layers.EinsumDense("abcd,cde->abe", (5, 6), bias_axes="e"), x.reshape(2, 5, 2, 4)
        else:
            stock, theirs = keras.layers.EinsumDense("abc,cde->abde", (5, 2, 4), bias_axes="de"), x
        stock.build(theirs.shape)
        randomize(ours)
        stock.set_weights(ours.get_weights())
        plain = ours(x).numpy()
        ours.quantize(mode)
        stock.quantize(mode)
        np.testing.assert_array_equal(ours(x), np.reshape(stock(theirs), (2, 5, -1)))
        np.testing.assert_allclose(ours(x), plain, atol=CLOSE[mode] * np.abs(plain).max())
        assert np.abs(ours(x) - plain).max() > 0

    @pytest.mark.parametrize("lead", [(10,), (2, 1, 5)])
    def test_takes_any_number_of_axes_when_quantized(self, lead):
        x = images((5, 8))
        layer = layers.DenseGeneral(**BACK)
        layer.build(x.shape)
        layer.quantize("int8")
        np.testing.assert_array_equal(np.reshape(layer(x.reshape(*lead, 8)), (2, 5, 6)), layer(x))

    def test_takes_tokens_without_a_known_number_when_quantized(self):
        layer = layers.DenseGeneral(**HEADS)
        model = keras.Sequential([keras.Input((None, 8)), layer])
        layer.quantize("int8")
        x = images((5, 8))
        np.testing.assert_allclose(model.predict(x, verbose=0), layer(x), atol=1e-5)


class TestAttention:
    @pytest.mark.slow
    @pytest.mark.parametrize(("kind", "mode"), CASES)
    def test_every_matrix_is_quantized_and_files_keep_it(self, tmp_path, kind, mode):
        model, x = attention(kind)
        plain = model(x).numpy()
        for layer in projections(model):
            layer.quantize(mode)
        quantized = model(x).numpy()
        assert 0 < np.abs(quantized - plain).max() < 2 * CLOSE[mode] * np.abs(plain).max()
        kinds = {variable.dtype for variable in model.variables if variable.name.endswith("kernel")}
        assert kinds == {"float32" if mode == "float8" else "int8"}  # float8 rounds as it computes
        np.testing.assert_array_equal(through_file(model, tmp_path / "model.keras")(x), quantized)

    @pytest.mark.parametrize("kind", KINDS)
    def test_lora_survives_files_and_is_merged_where_a_plain_model_reads_them(self, tmp_path, kind):
        model, x = with_lora(kind)
        plain, _ = attention(kind)
        learned = model(x).numpy()
        assert np.abs(learned - plain(x)).max() > 0.1
        np.testing.assert_array_equal(through_file(model, tmp_path / "model.keras")(x), learned)
        model.save_weights(tmp_path / "a.weights.h5")
        plain.load_weights(tmp_path / "a.weights.h5")
        np.testing.assert_array_equal(plain(x), learned)

    @pytest.mark.parametrize("kind", KINDS)
    def test_merge_lora_takes_it_away(self, tmp_path, kind):
        model, x = with_lora(kind)
        plain, _ = attention(kind)
        learned = model(x).numpy()
        keras_nest.merge_lora(model)
        np.testing.assert_array_equal(model(x), learned)
        assert len(model.trainable_variables) == len(plain.trainable_variables)
        assert len(model.variables) == len(plain.variables)
        assert model.layers[-1].get_config() == plain.layers[-1].get_config()
        np.testing.assert_array_equal(through_file(model, tmp_path / "model.keras")(x), learned)

    @pytest.mark.slow
    def test_lora_of_a_quantized_attention_learns_and_is_rounded_when_merged(self):
        model, x = attention("multi-head")
        for layer in projections(model):
            layer.quantize("int8")
            layer.enable_lora(2)
        before = model(x).numpy()
        model.compile(keras.optimizers.Adam(0.1), "mse")
        losses = model.fit(x, before + 1, epochs=4, verbose=0).history["loss"]
        assert losses[-1] < 0.7 * losses[0]
        learned = model(x).numpy()
        keras_nest.merge_lora(model)
        assert 0 < np.abs(model(x) - learned).max() < 0.1 * np.abs(learned).max()

    @pytest.mark.slow
    def test_what_was_frozen_can_be_trained_again(self):
        model, _ = attention("multi-head")
        model.trainable = False
        layer = model.layers[-1]
        layer.proj.enable_lora(2)
        assert not model.trainable_variables
        model.trainable = True
        assert layer.proj.bias.trainable

    @pytest.mark.slow
    def test_checkpoints_have_the_same_tensors_with_lora_merged(self):
        model, _ = with_lora("multi-head")
        plain = attention("multi-head")[0]
        tree = model_tree(model)
        assert tree.keys() == model_tree(plain).keys()
        keras_nest.merge_lora(model)
        for path, value in model_tree(model).items():
            np.testing.assert_array_equal(tree[path], value)
