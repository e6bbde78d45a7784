import pathlib

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_nest import export
from keras_nest.export.module import reusable_object
from keras_nest.models.base import logits_model
from keras_nest.tflite import TFLiteModel
from tests.export import toys


def normalized(model, images):
    spec = model.config["preprocessing"]
    return (images - np.float32(spec["mean"])) / np.float32(spec["std"])


def expected(model, images):
    return keras.tree.map_structure(np.asarray, model(normalized(model, images)))


@pytest.mark.slow
def test_gives_the_logits_of_the_keras_model(published, loaded, images):
    model, x = published("nest")[0], images(3)
    np.testing.assert_allclose(loaded(x), expected(model, x), atol=1e-6)
    signature = loaded.signatures["serving_default"]
    assert signature.structured_input_signature[1]["images"] == tf.TensorSpec((None, 16, 16, 3), name="images")
    np.testing.assert_allclose(signature(images=tf.constant(x))["logits"], loaded(x), atol=1e-6)


@pytest.mark.slow
def test_variables_are_those_of_the_model(published, loaded):
    model = published("nest")[0]
    assert len(loaded.variables) == len(model.variables)
    assert [v.shape for v in loaded.trainable_variables] == [v.shape for v in model.trainable_variables]
    assert len(loaded.regularization_losses) == 0


def test_regularizers_become_losses(tmp_path):
    inputs = keras.Input((4, 4, 3))
    hidden = keras.layers.Conv2D(2, 3, kernel_regularizer=keras.regularizers.L2(0.1))(inputs)
    model = keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(hidden))
    loaded = tf.saved_model.load(str(export.to_saved_model(model, tmp_path / "saved")))
    (loss,) = loaded.regularization_losses
    np.testing.assert_allclose(loss(), model.losses[0], rtol=1e-6)


def test_drop_path_acts_in_training_only(loaded, images):
    x = images(4)
    np.testing.assert_array_equal(loaded(x), loaded(x, training=False))
    first, second = loaded(x, training=True).numpy(), loaded(x, training=True).numpy()
    assert np.abs(first - second).max() > 1e-3


def test_batch_statistics_move_in_training_only(small_nest, images):
    module = reusable_object(small_nest(norm_type="BN"))
    trainable = {id(v) for v in module.trainable_variables}
    statistics = next(v for v in module.variables if id(v) not in trainable)
    before = statistics.numpy()
    module.__call__(images(4))
    np.testing.assert_array_equal(statistics, before)
    module.__call__(images(4), training=True)
    assert np.abs(statistics - before).max() > 0


@pytest.mark.slow
def test_all_trainable_variables_get_gradients(loaded, images):
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(loaded(images(2)) ** 2)
    assert None not in tape.gradient(loss, loaded.trainable_variables)


@pytest.mark.slow
def test_the_head_can_be_left_out(feature_vector, images):
    (model, folder), x = feature_vector, images(2)
    loaded = tf.saved_model.load(str(folder))
    embedding = keras.Model(model.input, model.endpoints["pre_logits"])(x)
    np.testing.assert_allclose(loaded(x), embedding, atol=1e-6)
    # Kernel and bias of the head.
    assert len(loaded.variables) == len(model.variables) - 2
    assert len(loaded.trainable_variables) == len(model.trainable_variables) - 2
    weights = 4 * (model.count_params() - model.get_layer("head").count_params())
    assert weights <= sum(file.stat().st_size for file in (folder / "variables").iterdir()) < weights + 10_000
    assert list(loaded.signatures["serving_default"].structured_outputs) == ["embedding"]
    assert not list((folder / "assets").iterdir())


def test_what_has_no_head_cannot_leave_it_out(small_nest, tmp_path):
    with pytest.raises(ValueError, match="has no head to leave out"):
        export.to_saved_model(small_nest(features_only=True), tmp_path / "saved", head="none")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"head": "no"}, "head is 'no'; it must be one of 'classifier', 'none'"),
        ({"activation": "relu"}, "activation is 'relu'; it must be one of 'softmax', 'sigmoid'"),
        ({"class_names": ["a", "b"]}, "There are 2 class names for 10 classes; there must be one for each"),
    ],
)
def test_options_without_meaning_are_refused(options, message, small_nest, tmp_path):
    with pytest.raises(ValueError, match=message):
        export.to_saved_model(small_nest(), tmp_path / "saved", **options)
    assert not list(tmp_path.iterdir())


def test_class_names_are_an_asset(published, loaded):
    _, folder = published("nest")
    assert (folder / "assets/labels.txt").read_text("utf-8").split("\n") == [*toys.CLASS_NAMES, ""]
    assert pathlib.Path(loaded.labels.asset_path.numpy().decode()) == folder / "assets/labels.txt"


def test_signatures_are_read_without_loading(published):
    _, folder = published("nest")
    signatures = export.read_signatures(folder)
    assert signatures["embed"] == ({"images": "float32 (None, 16, 16, 3)"}, {"embedding": "float32 (None, 24)"})
    inputs, outputs = signatures["serving_bytes"]
    assert inputs == {"image_bytes": "string (None,)"}
    assert outputs["classes"] == "int32 (None, 5)"
    assert outputs["labels"] == "string (None, 5)"


def test_existing_output_is_refused_and_kept(tmp_path):
    (tmp_path / "saved").mkdir()
    (tmp_path / "saved" / "mine").write_text("keep")
    with pytest.raises(FileExistsError, match="overwrite=True"):
        export.to_saved_model(identity(), tmp_path / "saved")
    assert (tmp_path / "saved" / "mine").read_text() == "keep"
    export.to_saved_model(identity(), tmp_path / "saved", overwrite=True)
    assert not (tmp_path / "saved" / "mine").exists()
    assert tf.saved_model.contains_saved_model(tmp_path / "saved")
    new = tmp_path / "new" / "saved"
    assert export.to_saved_model(identity(), str(new)) == new


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_failing_save_leaves_everything_as_it_was(tmp_path, monkeypatch, overwrite):
    def fail(module, folder, **kwargs):
        pathlib.Path(folder).mkdir()
        (pathlib.Path(folder) / "saved_model.pb").write_text("half")
        raise OSError("disk full")

    monkeypatch.setattr(tf.saved_model, "save", fail)
    if overwrite:
        (tmp_path / "saved").write_text("old")
    with pytest.raises(OSError, match="disk full"):
        export.to_saved_model(identity(), tmp_path / "saved", overwrite=overwrite)
    assert {file.name: file.read_text() for file in tmp_path.iterdir()} == ({"saved": "old"} if overwrite else {})


def identity():
    inputs = keras.Input((4, 4, 3))
    return keras.Model(inputs, inputs)


def dense_model():
    inputs = keras.Input((4,))
    return keras.Model(inputs, keras.layers.Dense(2)(inputs))


def two_outputs():
    inputs = keras.Input((4, 4, 3))
    return keras.Model(inputs, [inputs, keras.layers.Flatten()(inputs)])


def two_inputs():
    inputs = [keras.Input((4, 4, 3)), keras.Input((4, 4, 3))]
    return keras.Model(inputs, keras.layers.Add()(inputs))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (dense_model, r"inputs of shape \[\(None, 4\)\]; it must have a single one"),
        (two_inputs, r"has 2 inputs, and an export takes images alone; write it with Keras' own model\.export"),
        (two_outputs, "a list of 2 outputs"),
    ],
)
def test_models_that_are_no_image_models_are_refused(build, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        export.to_saved_model(build(), tmp_path / "saved")
    assert not list(tmp_path.iterdir())


def test_normalization_must_fit_the_channels(small_nest, tmp_path):
    with pytest.raises(ValueError, match=r"mean \[0.5, .*\]; it must be .* one for each of 1 channels"):
        export.to_saved_model(small_nest(in_channels=1), tmp_path / "saved")
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_model_that_puts_out_probabilities_exports_its_logits(images, tmp_path):
    """A SavedModel gives logits and probabilities, whatever the model ends with; a TFLite file what the model does."""
    model = toys.build("mixer", classifier_activation="sigmoid", preprocessing=None)
    logits = logits_model(model)(images(3))
    own = export.publish(model, tmp_path / "versions", warm_up=False)
    module = tf.saved_model.load(str(own))
    np.testing.assert_allclose(module(images(3)), logits, atol=1e-6)
    served = module.signatures["serving_default"](images=tf.constant(images(3)))
    np.testing.assert_allclose(served["logits"], logits, atol=1e-6)
    np.testing.assert_allclose(served["probabilities"], keras.ops.sigmoid(logits), atol=1e-6)
    (report,) = export.to_tflite(model, tmp_path / "lite", ["float32"], images=images(3))
    assert report["top1_agreement"] == 1
    lite = TFLiteModel(tmp_path / "lite" / "float32.tflite")(images(3))
    np.testing.assert_allclose(lite["probabilities"], keras.ops.sigmoid(logits), atol=1e-5)

    # The activation that is asked for comes first.
    path = export.publish(model, tmp_path / "versions", activation="softmax", warm_up=False)
    served = tf.saved_model.load(str(path)).signatures["serving_default"](images=tf.constant(images(3)))
    np.testing.assert_allclose(served["probabilities"], keras.ops.softmax(served["logits"]), atol=1e-6)
    assert "after the sigmoid" in (own / "README.md").read_text()
    assert "after the softmax" in (path / "README.md").read_text()


def test_a_head_that_was_given_an_activation_is_refused(small_nest, tmp_path):
    model = small_nest()
    model.get_layer("Dense_0").activation = keras.activations.softmax
    with pytest.raises(ValueError, match="was given an activation of its own, so that it has no logits"):
        export.to_saved_model(model, tmp_path / "saved")
    assert not (tmp_path / "saved").exists()
