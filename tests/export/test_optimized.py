import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_nest
from keras_nest import export
from keras_nest.export.inference import in_precision
from keras_nest.export.optimized import OPTIMIZED, fused_layer_norm
from keras_nest.layers.formulation import Formulation, formulated
from tests import families
from tests.export import toys


def optimized(model, path, **options):
    return tf.saved_model.load(str(export.to_saved_model(model, path / "saved", optimize="cpu", **options)))


@pytest.mark.parametrize("family", ["NesT", "NesT, multi-query, BatchNorm", "ViT", "ViT, gap", "hybrid", "Mixer"])
def test_layers_compute_the_same_otherwise(family):
    """Of what layers of this package make otherwise; that the way of computing reaches them is tested below."""
    model = families.made(family)
    images = np.random.default_rng(0).standard_normal((2, *model.input.shape[1:])).astype(np.float32)
    with formulated(OPTIMIZED):
        otherwise = model(images).numpy()
    expected = model(images).numpy()
    np.testing.assert_allclose(otherwise, expected, rtol=0, atol=toys.tolerance(expected))


def test_every_layer_norm_and_projection_is_computed_otherwise():
    calls = []

    def counted(x, gamma, beta, epsilon):
        calls.append(epsilon)
        return fused_layer_norm(x, gamma, beta, epsilon)

    with formulated(Formulation(layer_norm=counted)):
        keras.layers.Dense(1)(tf.zeros((1, 1)))  # what is not of this package stays
        families.made("NesT")(np.zeros((1, 8, 8, 3), np.float32))
    # Two in each of two encoders, one between the levels, one at the end.
    assert calls == [1e-6] * 6


@pytest.mark.slow
def test_an_optimized_file_gives_the_same_numbers(tmp_path):
    model, x = toys.build("nest"), toys.pixels(3)
    loaded = optimized(model, tmp_path, class_names=toys.CLASS_NAMES)
    expected = toys.logits(model, x)
    toys.assert_close(loaded(x).numpy(), expected)
    served = loaded.signatures["serving_default"](images=tf.constant(x))
    toys.assert_close(served["logits"].numpy(), expected)
    names = {"serving_default", "serving_bytes"}
    assert set(loaded.signatures) == names | {f"{name}_each" for name in names}
    files = toys.image_files()[:2]
    answers = loaded.signatures["serving_bytes"](image_bytes=tf.constant(files))
    toys.assert_close(answers["logits"].numpy(), toys.logits_of_files(model, files))
    assert list(loaded.variables) == list(loaded.trainable_variables) == list(loaded.regularization_losses) == []
    with pytest.raises(ValueError, match="Could not find matching concrete function"):
        loaded(x, training=True)
    with pytest.raises(tf.errors.InvalidArgumentError, match="empty"):
        loaded.signatures["serving_default"](images=tf.zeros((0, 16, 16, 3)))


@pytest.mark.slow
def test_an_optimized_file_is_read_without_this_package_and_without_onednn(tmp_path):
    model, x = toys.build("vit"), toys.pixels(2)
    optimized(model, tmp_path)
    np.save(tmp_path / "x.npy", x)
    script = (
        "import sys, numpy as np, tensorflow as tf; m = tf.saved_model.load('saved');"
        "np.save('y.npy', m(np.load('x.npy'))); assert not any(n.startswith('keras_nest') for n in sys.modules)"
    )
    environment = {"PATH": "/usr/bin:/bin", "TF_ENABLE_ONEDNN_OPTS": "0", "CUDA_VISIBLE_DEVICES": "-1"}
    subprocess.run([sys.executable, "-c", script], cwd=tmp_path, env=environment, check=True, capture_output=True)
    toys.assert_close(np.load(tmp_path / "y.npy"), toys.logits(model, x))


@pytest.mark.slow
def test_weights_are_in_the_graph_in_bfloat16_alone(tmp_path):
    """TensorFlow copies graphs, and what they hold, some 25 times."""
    model = keras_nest.create_model("ViT-Ti_16", num_layers=1, num_classes=0)
    weights = 4 * model.count_params()
    optimized(model, tmp_path)
    assert (tmp_path / "saved" / "saved_model.pb").stat().st_size < weights / 3
    narrow = optimized(model, tmp_path / "narrow", precision="bfloat16")
    assert (tmp_path / "narrow" / "saved" / "saved_model.pb").stat().st_size > weights
    assert narrow.weights == []


@pytest.mark.slow
def test_bfloat16(tmp_path):
    model, x = toys.build("mixer"), toys.pixels(4)
    logits, expected = optimized(model, tmp_path, precision="bfloat16")(x), toys.logits(model, x)
    assert logits.dtype == tf.float32
    error = np.abs(logits - expected).max() / np.abs(expected).max()
    assert 1e-5 < error < 0.03


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Layer .* does not have a `quantize` method")
def test_quantized_models_keep_their_numbers(tmp_path):
    """Whose gradients of their own know variables that the file has not."""
    model = families.vit(preprocessing=None)
    model.quantize("int8")
    images = np.random.default_rng(0).random((2, 16, 16, 3), np.float32)
    np.testing.assert_allclose(optimized(model, tmp_path)(images), model(images), atol=1e-5)
    with pytest.raises(ValueError, match="was quantized to int8, so that the model cannot be made again in bfloat16"):
        optimized(model, tmp_path / "narrow", precision="bfloat16")


def test_float64_has_no_fused_normalization():
    x = np.random.default_rng(0).standard_normal((2, 3, 4))
    normalized = fused_layer_norm(tf.constant(x), tf.ones(4, tf.float64), tf.zeros(4, tf.float64), 1e-6)
    expected = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-6)
    np.testing.assert_allclose(normalized, expected, rtol=1e-12)


def test_precision_of_the_model_itself_is_kept():
    model = families.made("ViT")
    assert in_precision(model, "float32") is model


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"optimize": "gpu"}, "optimize is 'gpu'; it must be 'cpu'"),
        ({"precision": "bfloat16"}, 'needs optimize="cpu"'),
        ({"optimize": "cpu", "precision": "int8"}, "precision is 'int8'; of a SavedModel it must be 'float32' or 'bf"),
    ],
)
def test_options_without_meaning_are_refused(options, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        export.to_saved_model(families.made("ViT"), tmp_path / "saved", **options)
    assert not list(tmp_path.iterdir())


def test_models_of_users_are_not_made_again(tmp_path):
    inputs = keras.Input((4, 4, 3))
    model = keras.Model(inputs, keras.layers.Conv2D(2, 3)(inputs))
    with pytest.raises(ValueError, match="not of this package, so that it cannot be made again in bfloat16"):
        export.to_saved_model(model, tmp_path / "saved", optimize="cpu", precision="bfloat16")
    assert not list(tmp_path.iterdir())


def test_texts_are_not_optimized(tmp_path):
    with pytest.raises(ValueError, match="a LiT model has texts too, so leave it out"):
        export.to_saved_model(families.made("LiT"), tmp_path / "saved", optimize="cpu")
    assert not list(tmp_path.iterdir())
