"""Generators as SavedModels and TFLite files: the same noise gives the same images."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_nest
from keras_nest import console
from keras_nest.cli import commands as cli
from keras_nest.generative.export import generator_to_saved_model, generator_to_tflite
from keras_nest.tflite import _runtime

SMALL = {
    "image_size": 16,
    "latent_dim": 6,
    "embedding_dims": (16, 8),
    "num_heads": (2, 2),
    "num_layers_per_block": (1, 1),
    "patch_size": 2,
}
NOISE = np.random.default_rng(0).standard_normal((3, 6)).astype(np.float32)
CLASSES = np.array([2, 0, 1], np.int32)


def build(**fields):
    """With weights as large as a trained model has."""
    keras.utils.set_random_seed(0)
    model = keras_nest.NesTGenerator(**{**SMALL, "num_classes": 3, **fields})
    for variable in model.trainable_variables:
        if variable.path.endswith("kernel"):
            variable.assign(5 * variable.value)
    return model


@pytest.fixture(scope="module")
def model():
    return build()


@pytest.fixture(scope="module")
def workdir(model, tmp_path_factory):
    """What a training of a generator leaves."""
    folder = tmp_path_factory.mktemp("gan")
    model.save(folder / "generator.keras")
    return folder


@pytest.fixture
def run(capsys, monkeypatch):
    """Runs `keras-nest export` in this process: exit code, output, errors."""
    monkeypatch.setattr(console.console, "width", 200)

    def run_here(*arguments):
        code = cli.main(["export", *map(str, arguments)])
        return code, *capsys.readouterr()

    return run_here


def interpret(path, noise, *classes):
    interpreter = _runtime().Interpreter(str(path))
    return interpreter.get_signature_runner()(noise=noise, **({"class_index": classes[0]} if classes else {}))["images"]


@pytest.mark.slow
def test_saved_model(run, model, workdir, tmp_path):
    code, told, errors = run(workdir, "--format", "saved_model", "--output", tmp_path / "out")
    assert (code, errors) == (0, "")
    assert str(tmp_path / "out" / "1") in told.replace("\n", "")
    loaded = tf.saved_model.load(str(tmp_path / "out" / "1"))
    expected = model([NOISE, CLASSES])
    assert np.std(expected) > 0.05
    served = loaded.signatures["serving_default"](noise=tf.constant(NOISE), class_index=tf.constant(CLASSES))
    np.testing.assert_allclose(served["images"], expected, atol=1e-6)
    np.testing.assert_allclose(loaded(NOISE[:2], CLASSES[:2]), expected[:2], atol=1e-6)


@pytest.mark.slow
def test_tflite(model, tmp_path):
    tolerances = {"float16": 0.02, "dynamic_int8": 0.2}
    for path in generator_to_tflite(model, tmp_path, tolerances, batch_size=3):
        images = interpret(path, NOISE, CLASSES)
        np.testing.assert_allclose(images, model([NOISE, CLASSES]), atol=tolerances[path.stem])


@pytest.mark.slow
def test_without_classes_and_in_mixed_precision(tmp_path):
    model = build(num_classes=0, dtype="mixed_bfloat16")
    plain = build(num_classes=0)
    plain.set_weights(model.get_weights())
    saved = tf.saved_model.load(str(generator_to_saved_model(model, tmp_path / "saved")))
    np.testing.assert_allclose(saved(NOISE), plain(NOISE), atol=1e-5)
    (path,) = generator_to_tflite(model, tmp_path / "lite", ["float32"])
    np.testing.assert_allclose(interpret(path, NOISE[:1]), plain(NOISE[:1]), atol=1e-5)


@pytest.mark.slow
def test_tflite_through_the_command(run, model, workdir, tmp_path):
    arguments = (workdir / "generator.keras", "--format", "tflite", "--output", tmp_path, "--precision", "float32")
    assert run(*arguments)[::2] == (0, "")
    images = interpret(tmp_path / "float32.tflite", NOISE[:1], CLASSES[:1])
    np.testing.assert_allclose(images, model([NOISE[:1], CLASSES[:1]]), atol=1e-5)
    code, _, errors = run(*arguments)
    assert (code, errors.count("exists already")) == (2, 1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("saved_model", "--head", "none"), "--head has no meaning for a generator; leave it out."),
        (("saved_model", "--archive"), "--archive has no meaning for a generator"),
        (("onnx",), "A generator cannot be written as onnx; take saved_model or tflite."),
        (
            ("tflite", "--precision", "int8"),
            "precision 'int8' is none of a generator; known are float32",
        ),
        (("tflite", "--batch-size", "0"), "batch_size is 0; it must be at least 1."),
        (("tflite", "--batch-size", "1,4"), "--batch-size names 2; files of a generator have one, so name one."),
    ],
)
def test_what_a_generator_has_not(arguments, message, run, workdir, tmp_path):
    code, _, errors = run(workdir, "--output", tmp_path / "out", "--format", *arguments)
    assert code == 2
    assert message in errors
    assert not (tmp_path / "out").exists()
