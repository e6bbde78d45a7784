"""All doors on JAX: what works gives the numbers of TensorFlow, and what does not says so in a sentence."""

import json
import os
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_nest
from keras_nest import backends
from tests import any_backend
from tests.export import toy_lit, toys
from tests.models.test_backends import QUICK_COMPILATION

# What is refused, and what to do instead.
INSIDE = ("keras_nest.preprocessor inside a model", "map it over the data: data.map(preprocess)")
WRITE = "save the model and run keras-nest export FILE.keras --format {} --output DIR"
REFUSED = {
    "sharpness": ("A Trainer with sharpness", "leave it out"),
    "prepare": ("A Trainer with prepare", "do it in the data, data.map(prepare)"),
    "tflite": ("export.to_tflite", WRITE.format("tflite")),
    "onnx": ("export.to_onnx", WRITE.format("onnx")),
    "inside": INSIDE,
    "around": INSIDE,
    "called": INSIDE,
    "HubLayer": ("HubLayer", "call what tf.saved_model.load gives outside the model"),
    "count_macs": ("count_macs", "save the model and read what keras-nest info FILE.keras says"),
    "graph": ("Explaining under tf.function", "call it as it is"),
}
SENTENCE = (
    "{} needs Keras on TensorFlow, and this process runs it on jax; {}, or set KERAS_BACKEND=tensorflow before Keras "
    "is imported."
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """What the program of `any_backend` left on JAX, with two devices."""
    folder = tmp_path_factory.mktemp("jax")
    any_backend.write_files(folder)
    preprocess = keras_nest.preprocessor("ViT-Ti_16")
    images = keras.Input((20, 20, 3))
    keras.Model(images, keras_nest.create_model("ViT-Ti_16", num_layers=1)(preprocess(images))).save(
        folder / "around.keras"
    )
    flags = f"{QUICK_COMPILATION} --xla_force_host_platform_device_count=2"
    environment = {**os.environ, "KERAS_BACKEND": "jax", "XLA_FLAGS": flags}
    subprocess.run([sys.executable, "-m", "tests.any_backend", str(folder)], check=True, env=environment)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("case", any_backend.CASES)
def test_numbers_are_those_of_tensorflow(folder, case):
    on_jax = dict(np.load(folder / f"{case}.npz"))
    here = any_backend.CASES[case](folder)
    assert on_jax.keys() == here.keys()
    for name, value in here.items():
        close(on_jax[name], np.asarray(value))


@pytest.mark.slow
def test_the_program_of_the_guide_learns(folder):
    assert json.loads((folder / "accuracy.json").read_text())[-1] > 0.5


@pytest.mark.slow
def test_what_needs_tensorflow_says_so(folder):
    said = json.loads((folder / "refusals.json").read_text())
    assert said == {name: SENTENCE.format(*words) for name, words in REFUSED.items()}


@pytest.mark.slow
def test_savedmodels_give_what_the_models_give(folder):
    pixels = np.random.default_rng(0).random((3, 16, 16, 3), np.float32)
    images, files = tf.constant(pixels), tf.stack([tf.io.encode_png(image) for image in any_backend.IMAGES])

    model, module = keras_nest.open_model(folder / "digits.keras").model, tf.saved_model.load(folder / "digits")
    answers = module.signatures["serving_default"](images=images)
    close(answers["logits"], toys.logits(model, pixels))
    close(answers["probabilities"], tf.nn.softmax(answers["logits"]))
    close(module(images), answers["logits"])
    answers = module.signatures["serving_bytes"](image_bytes=files)
    close(answers["logits"], model(keras_nest.preprocessor(model)(any_backend.IMAGES)))
    assert answers["labels"][0, 0] == b"%d" % np.argmax(answers["logits"][0])
    close(
        module.signatures["embed"](images=images)["embedding"],
        keras.Model(model.input, model.endpoints["pre_logits"])(toys.normalized(model, pixels)),
    )
    # Inference is all that it has.
    with pytest.raises(ValueError, match="Could not find matching concrete function"):
        module(images, training=True)
    assert (list(module.trainable_variables), len(module.variables)) == ([], len(model.variables))

    lit = keras_nest.open_model(folder / "lit.keras").model
    answers = tf.saved_model.load(folder / "lit").signatures["zero_shot"](images=images, texts=any_backend.TEXTS)
    close(answers["logits"], toy_lit.logits(lit, *toy_lit.embeddings(lit, pixels, texts=any_backend.TEXTS)))


def close(found, expected):
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


def test_the_backend_of_this_process_needs_no_excuse():
    assert backends.on_tensorflow()
    backends.require_tensorflow("This", "do that")
    assert not backends.is_traced(np.zeros(1))


def test_other_backends_are_named(monkeypatch):
    monkeypatch.setattr(keras.backend, "backend", lambda: "torch")
    with pytest.raises(backends.BackendError, match=r"^This needs Keras on .* on torch; do that, or set"):
        backends.require_tensorflow("This", "do that")
