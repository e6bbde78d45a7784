"""Files of stock layers: the same numbers, gradients and dropout, in a process that has no keras_nest."""

import json
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_nest.generative.export  # noqa: F401  so that generators are known
from keras_nest import export
from keras_nest.export.module import on_unit_images
from keras_nest.export.stock_layers import in_stock_layers
from keras_nest.export.wrapped import as_exported
from keras_nest.layers.changes import layers_inside
from keras_nest.layers.encoder import MlpBlock
from tests import families
from tests.export import test_wrapped, toys

# Reads files where importing this package fails; each says what it gives, and is trained for a step.
_READER = """
import json, sys
sys.modules["keras_nest"] = None
import keras, numpy as np
for file in sys.argv[1:]:
    inputs = np.load(file + ".npz")
    model = keras.models.load_model(file)
    gap = np.abs(model(inputs["images"]) - inputs["outputs"]).max()
    before = [np.array(w) for w in model.trainable_variables]
    model.compile(keras.optimizers.Adam(), "mse", run_eagerly=True)
    model.fit(inputs["images"], inputs["outputs"] + 1, epochs=8, verbose=0)  # a block may be dropped from a step
    moved = sum(not np.array_equal(a, b) for a, b in zip(before, model.trainable_variables))
    print(json.dumps([file, float(gap), moved, len(before)]))
"""
IMAGE_MODELS = [
    name for name in families.FAMILIES if name not in ("Bert", "TextTransformer", "LiT", "generator", "discriminator")
]


def images_of(model):
    return np.random.default_rng(0).random((3, *model.input_shape[1:]), np.float32)


def flat(outputs):
    return [np.asarray(value) for value in keras.tree.flatten(outputs)]


def gradient_norm(model, images):
    """Of the mean of the squares of the outputs."""
    with tf.GradientTape() as tape:
        loss = sum(tf.reduce_mean(tf.square(value)) for value in keras.tree.flatten(model(images, training=False)))
    return float(tf.linalg.global_norm(tape.gradient(loss, [x.value for x in model.trainable_variables])))


@pytest.mark.slow
@pytest.mark.parametrize("name", IMAGE_MODELS)
def test_numbers_and_gradients_of_every_family(name):
    model = families.FAMILIES[name]()
    stock, images = in_stock_layers(model), images_of(model)
    for found, wanted in zip(flat(stock(images)), flat(model(images)), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-6 * max(1, np.abs(wanted).max()))
    assert gradient_norm(stock, images) == pytest.approx(gradient_norm(model, images), rel=1e-5)
    assert stock.count_params() == model.count_params()
    assert keras.tree.map_structure(lambda x: x.shape, stock.output) == keras.tree.map_structure(
        lambda x: x.shape, model.output
    )
    own = {id(layer) for layer in layers_inside(model)}
    for layer in stock.operations:
        assert id(layer) not in own
        assert type(layer).__module__.startswith("keras.")
    assert "keras_nest" not in stock.to_json()


@pytest.mark.slow
def test_files_are_read_and_trained_without_this_package(tmp_path):
    models = {family: toys.build(family) for family in toys.FAMILIES}
    models["functional"] = test_wrapped.WRAPPED["functional"][0]()
    for name, model in models.items():
        images, path = toys.pixels(3), export.to_keras(model, tmp_path / f"{name}.keras")
        exported = as_exported(model)
        np.savez(f"{path}.npz", images=images, outputs=on_unit_images(exported, exported)(images))
    files = [str(tmp_path / f"{name}.keras") for name in models]
    done = subprocess.run([sys.executable, "-c", _READER, *files], capture_output=True, text=True, check=True)
    rows = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("[")]
    assert [row[0] for row in rows] == files
    for _, gap, moved, count in rows:
        assert gap < 1e-5
        assert moved == count


@pytest.mark.parametrize(
    "name", ["sequential", "flat", "softmax as an operation", "nested twice", "one twice", "augmentation"]
)
def test_models_of_users(name):
    model = as_exported(test_wrapped.WRAPPED[name][0]())
    images = toys.pixels(2)
    toys.assert_close(in_stock_layers(model)(images, training=False), model(images, training=False).numpy())


def test_what_drops_and_what_is_frozen():
    model = toys.build("nest", attn_drop=0.2, proj_drop=0.1)
    model.get_layer("PatchEmbedding_0").trainable = False
    stock = in_stock_layers(model)
    found = {(layer.rate, layer.noise_shape) for layer in stock.layers if isinstance(layer, keras.layers.Dropout)}
    assert {(0.2, None), (0.1, None), (0.5, (None, 1, 1, 1))} <= found
    assert len(stock.trainable_variables) == len(model.trainable_variables) < len(model.weights)
    images = toys.pixels(8)
    assert np.abs(stock(images, training=True) - stock(images)).max() > 1e-3


def test_mixed_precision_becomes_float32(tmp_path):
    plain = families.vit(preprocessing=None)
    model = plain.with_fields(dtype="mixed_bfloat16")
    model.set_weights(plain.get_weights())
    found = keras.models.load_model(export.to_keras(model, tmp_path / "stock.keras"))
    assert {layer.compute_dtype for layer in found.layers} == {"float32"}
    np.testing.assert_allclose(found(images_of(plain)), plain(images_of(plain)), atol=1e-5)


def test_a_model_of_several_inputs_inside():
    base = toys.build("mixer", num_classes=0)
    images, numbers = keras.Input(base.input_shape[1:]), keras.Input((2,))
    inner = keras.Model([images, numbers], keras.layers.Concatenate()([base(images), numbers]))
    x = keras.Input(base.input_shape[1:])
    model = keras.Model(x, inner([x, x[:, 0, 0, :2]]))
    toys.assert_close(in_stock_layers(model)(toys.pixels(2)), model(toys.pixels(2)).numpy())


def test_a_layer_inside_one_of_keras_is_refused():
    x = keras.Input((16, 16, 3))
    model = keras.Model(x, keras.layers.TimeDistributed(MlpBlock(4, name="mlp"))(x))
    with pytest.raises(ValueError, match="'time_distributed' is or holds the MlpBlock 'mlp'"):
        in_stock_layers(model)


class TestRefused:
    def with_lora():
        model = families.vit()
        model.get_layer("head").enable_lora(2)
        return model

    def quantized():
        model = families.vit()
        model.get_layer("head").quantize("int8")
        return model

    CASES = (
        (with_lora, "'head' of 'ViT-Ti_16' has LoRA.*; call keras_nest.merge_lora"),
        (quantized, "quantized to int8, which a file of stock layers cannot hold"),
        (families.lit, "export its image_model"),
        (families.FAMILIES["generator"], "A generator cannot be written as keras"),
        (
            test_wrapped.WRAPPED["preprocessor"][0],
            "is or holds the EvalPreprocessing 'preprocessor', which layers of Keras",
        ),
    )

    @pytest.mark.parametrize(("make", "sentence"), CASES)
    def test_in_a_sentence(self, make, sentence, tmp_path):
        with pytest.raises(ValueError, match=sentence):
            export.to_keras(make(), tmp_path / "stock.keras")
        assert list(tmp_path.iterdir()) == []

    def test_paths(self, tmp_path):
        with pytest.raises(ValueError, match=r"stock.h5 must end with .keras"):
            export.to_keras(families.vit(), tmp_path / "stock.h5")
        (tmp_path / "stock.keras").touch()
        with pytest.raises(FileExistsError):
            export.to_keras(families.vit(), tmp_path / "stock.keras")
