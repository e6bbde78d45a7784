"""The same answers from every kind of file."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_nest
from keras_nest import export
from keras_nest.export.tflite import to_tflite
from keras_nest.models.losses import LOSSES
from keras_nest.opening import LoadedModel
from keras_nest.predict import open_predictor, read_image
from keras_nest.predict.open import build_predictor
from tests.predict.conftest import NAMES, SMALL


@pytest.fixture(scope="module")
def images(photos):
    return [read_image(path) for path in sorted(photos.iterdir())]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["run", "keras", "bare", "versions", "tflite"])
def test_same_probabilities_and_names(files, images, expected, kind):
    predictor = open_predictor(files[kind])
    np.testing.assert_allclose(predictor.probabilities(images), expected, atol=1e-5)
    np.testing.assert_allclose(predictor.probabilities(images[:1]), expected[:1], atol=1e-5)
    assert predictor.class_names == (None if kind == "bare" else NAMES)
    assert predictor.name_of(1) == ("class 1" if kind == "bare" else "cat, tabby")


def test_the_images_tell_classes_apart(expected):
    assert np.ptp(expected, axis=0).max() > 0.01, "else the tests above could not fail"


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["keras", "tflite"])
def test_other_labels(files, tmp_path, kind):
    (tmp_path / "labels.txt").write_text("a\nb\nc\n")
    assert open_predictor(files[kind], labels=tmp_path / "labels.txt").class_names == ("a", "b", "c")
    (tmp_path / "labels.txt").write_text("a\nb\n")
    with pytest.raises(ValueError, match="2 class names for 3 classes"):
        open_predictor(files[kind], labels=tmp_path / "labels.txt")


@pytest.mark.parametrize("loss", sorted(LOSSES))
def test_every_loss(loss, files, images, model, tmp_path):
    """A model that was trained with it, as its directory says; with "sigmoid" an image has several labels."""
    model.save(tmp_path / "model.keras")
    (tmp_path / "config.json").write_text(json.dumps({"loss": loss}))
    activations = {"sigmoid": keras.ops.sigmoid, "squared": lambda numbers: numbers}
    activation = activations.get(loss, keras.ops.softmax)
    logits = model(keras_nest.preprocessor(model)(images))
    np.testing.assert_allclose(open_predictor(tmp_path).answers(images), activation(logits), atol=1e-5)


LOSSES_OF_KERAS = {
    "each class for itself": (keras.losses.BinaryCrossentropy(from_logits=True), tf.math.sigmoid),
    "one class": (keras.losses.SparseCategoricalCrossentropy(from_logits=True), tf.nn.softmax),
    "numbers": ("mse", tf.identity),
}


def compiled_around(model, loss):
    """A user's model that ends with the one of these tests."""
    own = keras.Sequential([keras.Input(model.input.shape[1:]), model])
    own.compile("sgd", loss)
    return own


@pytest.mark.parametrize("case", LOSSES_OF_KERAS)
def test_a_loss_of_keras_says_what_is_answered(case, images, model, tmp_path):
    loss, activation = LOSSES_OF_KERAS[case]
    own = compiled_around(model, loss)
    own.save(tmp_path / "own.keras")
    expected = activation(model(keras_nest.preprocessor(model)(images)))
    for ask in (keras_nest.predictor(own), keras_nest.predictor(tmp_path / "own.keras")):
        np.testing.assert_allclose(ask(images), expected, atol=1e-5)
        assert ask.gives_numbers == (case == "numbers")


@pytest.mark.slow
@pytest.mark.parametrize("case", LOSSES_OF_KERAS)
def test_exports_of_the_file_answer_the_same(case, images, model, tmp_path):
    loss, activation = LOSSES_OF_KERAS[case]
    compiled_around(model, loss).save(tmp_path / "own.keras")
    read = keras_nest.open_model(tmp_path / "own.keras").model
    export.to_saved_model(read, tmp_path / "served")
    to_tflite(read, tmp_path / "lite", ["float32"])
    expected = activation(model(keras_nest.preprocessor(model)(images)))
    for file in ("served", "lite/float32.tflite"):
        np.testing.assert_allclose(keras_nest.predictor(tmp_path / file)(images), expected, atol=1e-5)


def test_a_model_at_hand(images, model, expected, tmp_path):
    np.testing.assert_allclose(keras_nest.predictor(model).probabilities(images), expected, atol=1e-6)
    (tmp_path / "labels.txt").write_text("a\nb\nc\n")
    assert keras_nest.predictor(model, labels=tmp_path / "labels.txt").class_names == ("a", "b", "c")
    with pytest.raises(ValueError, match="at hand with its weights"):
        keras_nest.predictor(model, weights="nest_tiny.npz")


def test_a_single_logit_is_no_certainty(images):
    """Its softmax is always 1."""
    model = keras_nest.create_model("nest_tiny", **{**SMALL, "num_classes": 1})
    logits = model(keras_nest.preprocessor(model)(images))
    shares = build_predictor(LoadedModel(model)).probabilities(images)
    np.testing.assert_allclose(shares, keras.ops.sigmoid(logits), atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(("activation", "of_head"), [("softmax", True), ("sigmoid", False)])
def test_a_model_that_puts_out_probabilities(activation, of_head, images, model, tmp_path):
    """They are its answer, and no further softmax makes them alike."""
    ending = keras_nest.create_model("nest_tiny", **SMALL, classifier_activation=None if of_head else activation)
    ending.set_weights(model.get_weights())
    if of_head:
        ending.get_layer("Dense_0").activation = keras.activations.get(activation)
    expected = getattr(keras.ops, activation)(model(keras_nest.preprocessor(model)(images)))
    np.testing.assert_allclose(build_predictor(LoadedModel(ending)).probabilities(images), expected, atol=1e-6)
    if not of_head:
        ending.save(tmp_path / "model.keras")
        np.testing.assert_allclose(open_predictor(tmp_path).probabilities(images), expected, atol=1e-6)


def test_saved_models_of_others(images, tmp_path):
    """The whole image, stretched, in [0, 1]; logits."""

    @tf.function(input_signature=[tf.TensorSpec((None, 8, 8, 3), name="pixels")])
    def serve(pixels):
        return {"scores": tf.reduce_mean(pixels, (1, 2))}

    module = tf.Module()
    tf.saved_model.save(module, tmp_path, signatures=serve)
    stretched = np.stack([tf.image.resize(image / np.float32(255), (8, 8)) for image in images])
    np.testing.assert_allclose(
        open_predictor(tmp_path).probabilities(images), tf.nn.softmax(stretched.mean((1, 2))), atol=1e-6
    )


@pytest.mark.parametrize("shape", [(None, None, None, 3), (None, 8)])
def test_saved_models_that_are_no_classifiers(tmp_path, shape):
    module = tf.Module()
    serve = tf.function(lambda x: tf.reduce_mean(x, -1), input_signature=[tf.TensorSpec(shape)])
    tf.saved_model.save(module, tmp_path, signatures=serve)
    with pytest.raises(ValueError, match="is no SavedModel of a classifier: serving_default must take images"):
        open_predictor(tmp_path)


@pytest.mark.slow
def test_models_without_classes(tmp_path):
    model = keras_nest.create_model("nest_tiny", **{**SMALL, "num_classes": 0})
    model.save(tmp_path / "model.keras")
    with pytest.raises(ValueError, match="gives no classes; it must be a classifier of images, with a head"):
        open_predictor(tmp_path / "model.keras")
    to_tflite(model, tmp_path, ["float32"])
    with pytest.raises(ValueError, match=r"float32\.tflite gives embedding; predict needs a file that gives logits"):
        open_predictor(tmp_path / "float32.tflite")


@pytest.mark.parametrize("name", ["nowhere.keras", "nowhere.tflite"])
def test_no_such_file(tmp_path, name):
    with pytest.raises(FileNotFoundError, match=name):
        open_predictor(tmp_path / name)


def test_no_model(tmp_path):
    (tmp_path / "text.tflite").write_text("text")
    with pytest.raises(ValueError, match=r"text\.tflite"):
        open_predictor(tmp_path / "text.tflite")
