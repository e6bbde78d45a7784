import pathlib
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

import export
import keras_nest

# Runs where neither the package nor its exporter can be imported.
FOREIGN_PROCESS = """
import sys
sys.modules["keras_nest"] = sys.modules["export"] = None
import numpy as np, tensorflow as tf
folder, inputs, outputs = sys.argv[1:]
model = tf.saved_model.load(folder)
images = np.load(inputs)
np.savez(outputs, **{name: model(images[name]) for name in images})
"""


def normalised(model, images):
    spec = model.config["preprocessing"]
    return (images - np.float32(spec["mean"])) / np.float32(spec["std"])


def expected(model, images):
    return keras.tree.map_structure(np.asarray, model(normalised(model, images)))


def disk_bytes(folder):
    return sum(file.stat().st_size for file in pathlib.Path(folder).rglob("*") if file.is_file())


@pytest.fixture(scope="module")
def saved(small_nest, tmp_path_factory):
    """A small model with drop path, and its export."""
    model = small_nest(stochastic_depth_drop=0.5)
    return model, str(export.to_saved_model(model, tmp_path_factory.mktemp("export") / "saved"))


@pytest.fixture(scope="module")
def loaded(saved):
    """The same export as TensorFlow loads it."""
    return tf.saved_model.load(saved[1])


def test_gives_the_logits_of_the_keras_model(saved, loaded, images):
    model, x = saved[0], images(3)
    np.testing.assert_allclose(loaded(x), expected(model, x), atol=1e-6)
    signature = loaded.signatures["serving_default"]
    assert signature.structured_input_signature[1]["images"] == tf.TensorSpec((None, 16, 16, 3), name="images")
    np.testing.assert_allclose(signature(images=tf.constant(x))["logits"], loaded(x), atol=1e-6)


def test_a_process_without_the_package_gets_the_same_numbers(saved, images, tmp_path):
    model, folder = saved
    batches = {f"batch_{size}": images(size) for size in (1, 2, 7)}
    np.savez(tmp_path / "in.npz", **batches)
    command = [sys.executable, "-c", FOREIGN_PROCESS, folder, tmp_path / "in.npz", tmp_path / "out.npz"]
    subprocess.run(command, check=True, cwd=tmp_path)
    outputs = np.load(tmp_path / "out.npz")
    for name, x in batches.items():
        np.testing.assert_allclose(outputs[name], expected(model, x), atol=1e-6)


def test_weights_are_stored_once(small_nest, tmp_path):
    model = small_nest(embedding_dim=64)
    folder = export.to_saved_model(model, str(tmp_path / "new" / "saved"))
    assert folder == tmp_path / "new" / "saved"
    stored = sum(file.stat().st_size for file in (folder / "variables").iterdir())
    assert 4 * model.count_params() <= stored < 1.05 * 4 * model.count_params()


def test_variables_are_those_of_the_model(saved, loaded):
    model = saved[0]
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


def test_batch_statistics_move_in_training_only(small_nest, images, tmp_path):
    loaded = tf.saved_model.load(str(export.to_saved_model(small_nest(norm_type="BN"), tmp_path / "saved")))
    trainable = {id(v) for v in loaded.trainable_variables}
    statistics = next(v for v in loaded.variables if id(v) not in trainable)
    before = statistics.numpy()
    loaded(images(4))
    np.testing.assert_array_equal(statistics, before)
    loaded(images(4), training=True)
    assert np.abs(statistics - before).max() > 0


def test_all_trainable_variables_get_gradients(loaded, images):
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(loaded(images(2)) ** 2)
    assert None not in tape.gradient(loss, loaded.trainable_variables)


# tensorflow_hub and the legacy Keras it trains with raise these about themselves.
@pytest.mark.filterwarnings("ignore:pkg_resources is deprecated")
def test_hub_loads_and_fine_tunes_it(saved, images):
    hub, tf_keras = pytest.importorskip("tensorflow_hub"), pytest.importorskip("tf_keras")
    model, folder = saved
    x = images(8)
    np.testing.assert_allclose(hub.load(folder)(x), expected(model, x), atol=1e-6)

    layer = hub.KerasLayer(folder, trainable=True)
    tuned = tf_keras.Sequential([tf_keras.Input((16, 16, 3)), layer])
    assert len(layer.trainable_weights) == len(model.trainable_variables)
    before = [v.numpy() for v in layer.trainable_weights]
    tuned.compile(tf_keras.optimizers.SGD(0.01), tf_keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    losses = tuned.fit(x, np.arange(8), batch_size=8, epochs=8, verbose=0).history["loss"]
    assert losses[-1] < losses[0]
    # The key biases are no exception: their gradient is rounding noise, but not nothing.
    changed = [np.any(v.numpy() != old) for v, old in zip(layer.trainable_weights, before, strict=True)]
    assert all(changed)


def test_a_model_without_head_gives_embeddings(small_nest, images, tmp_path):
    model, x = small_nest(num_classes=0), images(2)
    loaded = tf.saved_model.load(str(export.to_saved_model(model, tmp_path / "saved")))
    np.testing.assert_allclose(loaded(x), expected(model, x), atol=1e-6)
    assert loaded.signatures["serving_default"].structured_outputs["embedding"].shape == (None, 32)


def test_a_pyramid_keeps_its_names(small_nest, images, tmp_path):
    model, x = small_nest(features_only=True), images(2)
    loaded = tf.saved_model.load(str(export.to_saved_model(model, tmp_path / "saved")))
    for outputs in (loaded(x), loaded.signatures["serving_default"](images=tf.constant(x))):
        assert {name: y.shape for name, y in outputs.items()} == {
            "P1": (2, 8, 8, 16),
            "P2": (2, 4, 4, 32),
        }
        for name, y in expected(model, x).items():
            np.testing.assert_allclose(outputs[name], y, atol=1e-5)


def test_rectangular_images_and_a_fixed_batch(small_nest, images, tmp_path):
    model, x = small_nest(image_size=(16, 32)), images(2, (16, 32))
    loaded = tf.saved_model.load(str(export.to_saved_model(model, tmp_path / "saved", batch_size=2)))
    signature = loaded.signatures["serving_default"]
    assert signature.structured_input_signature[1]["images"].shape == (2, 16, 32, 3)
    np.testing.assert_allclose(signature(images=tf.constant(x))["logits"], expected(model, x), atol=1e-6)
    np.testing.assert_allclose(loaded(x[:1]), expected(model, x[:1]), atol=1e-6)


def test_a_model_without_specification_gets_the_images_as_they_are(small_nest, images, tmp_path):
    model, x = small_nest(preprocessing=None), images(2)
    loaded = tf.saved_model.load(str(export.to_saved_model(model, tmp_path / "saved")))
    np.testing.assert_allclose(loaded(x), model(x), atol=1e-6)


def test_mixed_precision_gives_float32(small_nest, images, tmp_path):
    model, x = small_nest(dtype="mixed_bfloat16", features_only=True), images(1)
    loaded = tf.saved_model.load(str(export.to_saved_model(model, tmp_path / "saved")))
    assert {y.dtype for y in loaded(x).values()} == {tf.float32}


def test_the_other_nest_is_exported_too(images, tmp_path):
    model = keras_nest.ViTFlaxNesT(
        image_size=16, patch_size=2, dim=16, heads=2, block_repeats=1, num_hierarchies=2, num_classes=10, dropout=0.1
    )
    loaded = tf.saved_model.load(str(export.to_saved_model(model, tmp_path / "saved")))
    np.testing.assert_allclose(loaded(images(2)), model(images(2)), atol=1e-6)


def test_existing_output_is_refused_and_kept(small_nest, tmp_path):
    (tmp_path / "saved").mkdir()
    (tmp_path / "saved" / "mine").write_text("keep")
    with pytest.raises(FileExistsError, match="overwrite=True"):
        export.to_saved_model(small_nest(), tmp_path / "saved")
    assert (tmp_path / "saved" / "mine").read_text() == "keep"
    export.to_saved_model(small_nest(), tmp_path / "saved", overwrite=True)
    assert not (tmp_path / "saved" / "mine").exists()
    assert tf.saved_model.contains_saved_model(tmp_path / "saved")


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_failing_save_leaves_everything_as_it_was(small_nest, tmp_path, monkeypatch, overwrite):
    def fail(module, folder, **kwargs):
        pathlib.Path(folder).mkdir()
        (pathlib.Path(folder) / "saved_model.pb").write_text("half")
        raise OSError("disk full")

    monkeypatch.setattr(tf.saved_model, "save", fail)
    if overwrite:
        (tmp_path / "saved").write_text("old")
    with pytest.raises(OSError, match="disk full"):
        export.to_saved_model(small_nest(), tmp_path / "saved", overwrite=overwrite)
    assert {file.name: file.read_text() for file in tmp_path.iterdir()} == ({"saved": "old"} if overwrite else {})


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
        (two_inputs, "must have a single one"),
        (two_outputs, "a list of 2 outputs"),
    ],
)
def test_models_that_are_no_image_models_are_refused(build, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        export.to_saved_model(build(), tmp_path / "saved")
    assert not list(tmp_path.iterdir())


def test_normalisation_must_fit_the_channels(small_nest, tmp_path):
    with pytest.raises(ValueError, match=r"mean .* for images of 1 channels; it must have one value a channel"):
        export.to_saved_model(small_nest(in_channels=1), tmp_path / "saved")
    assert not list(tmp_path.iterdir())
