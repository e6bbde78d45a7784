"""SavedModels as layers: ours, and what others may have published."""

import base64
import copy
import io
import json
import pathlib
import shutil
import subprocess
import sys
import tarfile
import zipfile

import h5py
import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_nest
from keras_nest import HubLayer, export, training

SMALL = {
    "num_classes": 5,
    "image_size": 16,
    "embedding_dim": 8,
    "num_heads": 2,
    "num_layers_per_block": (2,),
    "init_patch_embed_size": 4,
    "stochastic_depth_drop": 0.3,
}
IMAGES = np.random.default_rng(0).random((8, 16, 16, 3), np.float32)
LABELS = np.arange(8) % 3


@pytest.fixture(scope="module")
def nest():
    keras.utils.set_random_seed(0)
    model = keras_nest.NesT(**SMALL)
    rng = np.random.default_rng(1)
    for variable in model.trainable_variables:
        variable.assign(variable + rng.normal(scale=0.2, size=variable.shape))
        if "Dense_0/kernel" in variable.path:
            variable.regularizer = keras.regularizers.L2(0.01)
    return model


@pytest.fixture(scope="module")
def directory(nest, tmp_path_factory):
    return export.to_saved_model(nest, tmp_path_factory.mktemp("hub") / "1")


@pytest.fixture(scope="module")
def layer(directory):
    """A module that nothing trains."""
    return HubLayer(directory, trainable=True)


def around(layer):
    """A classifier of three classes on top of a module."""
    keras.utils.set_random_seed(1)
    model = keras.Sequential([keras.Input((16, 16, 3)), layer, keras.layers.Dense(3)])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(0.03), loss)
    return model


def fit(model, epochs=20):
    return model.fit(IMAGES, LABELS, epochs=epochs, verbose=0, shuffle=False).history["loss"]


def values(layer):
    return [np.asarray(variable) for variable in layer.variables]


@pytest.mark.slow
def test_same_numbers_and_variables(nest, directory):
    layer = HubLayer(directory)
    np.testing.assert_allclose(layer(IMAGES), nest(IMAGES), atol=1e-5)
    for shape in ((1, 5), (7, 5)):
        assert layer(IMAGES[: shape[0]]).shape == shape
    assert len(layer.variables) == len(nest.variables)
    assert around(layer).layers[0].output.shape == (None, 5)
    layer.trainable = True
    assert len(layer.trainable_variables) > 20, "thawed later"


@pytest.mark.slow
def test_frozen(nest, directory):
    layer = HubLayer(directory)
    model, before = around(layer), values(layer)
    assert (len(model.trainable_variables), len(layer.losses)) == (2, 0)
    model.train_on_batch(IMAGES, LABELS)
    for one, other in zip(before, values(layer), strict=True):
        np.testing.assert_array_equal(one, other)
    np.testing.assert_allclose(layer(IMAGES, training=True), nest(IMAGES), atol=1e-5, err_msg="no dropped paths")


@pytest.mark.slow
def test_paths_are_dropped_in_training_only(layer):
    first, second = layer(IMAGES, training=True), layer(IMAGES, training=True)
    assert np.abs(first - second).max() > 1e-3
    np.testing.assert_array_equal(layer(IMAGES), layer(IMAGES, training=False))


def test_regularization(nest, layer):
    layer(IMAGES)
    squares = [np.square(variable).sum() for variable in nest.trainable_variables if variable.regularizer]
    assert len(layer.losses) == len(squares) > 1
    assert float(sum(layer.losses)) == pytest.approx(0.01 * float(sum(squares)), rel=1e-5)


@pytest.fixture(scope="module")
def trained(directory, tmp_path_factory):
    """A model that was trained around a module, the module's values before, and the losses of the epochs."""
    copied = shutil.copytree(directory, tmp_path_factory.mktemp("tuned") / "module")
    layer = HubLayer(copied, trainable=True)
    model, before = around(layer), values(layer)
    return model, before, fit(model)


@pytest.mark.slow
def test_it_trains(trained):
    model, before, losses = trained
    layer = model.layers[0]
    assert np.mean(losses[-3:]) < 0.8 * losses[0]
    paths = [variable.path for variable in layer.trainable_variables]
    moved = [not np.array_equal(a, b) for a, b in zip(before, values(layer), strict=True)]
    assert sum(moved) >= len(paths) > 20


@pytest.fixture(scope="module")
def tuned(trained):
    """A file with the tuned module, whose directory is gone, and what the model said."""
    model = trained[0]
    module = pathlib.Path(model.layers[0].handle)
    model.save(module.with_name("tuned.keras"))
    shutil.rmtree(module)
    return module.with_name("tuned.keras"), np.asarray(model(IMAGES))


@pytest.mark.slow
def test_the_file_needs_no_directory(tuned, tmp_path):
    path, expected = tuned
    model = keras.saving.load_model(path, safe_mode=False)
    np.testing.assert_array_equal(model(IMAGES), expected)
    model.save(tmp_path / "again.keras")
    again = keras.saving.load_model(tmp_path / "again.keras", safe_mode=False)
    np.testing.assert_array_equal(again(IMAGES), expected, err_msg="a file of a file")
    assert model.layers[0].trainable
    model.jit_compile = False  # what XLA makes of it is trained above
    losses = fit(model, epochs=3)
    assert losses[-1] < losses[0]


@pytest.fixture(scope="module")
def opened(tuned):
    """The model of the file, which no test changes."""
    return keras.saving.load_model(tuned[0], safe_mode=False)


@pytest.mark.slow
def test_weights_are_stored_once(tuned, opened):
    path, _ = tuned
    graph = base64.b64decode(opened.layers[0].get_config()["graph"])
    with tarfile.open(fileobj=io.BytesIO(graph)) as packed:
        assert packed.getnames() == ["saved_model.pb"]
    stored = []
    with zipfile.ZipFile(path) as archive, h5py.File(io.BytesIO(archive.read("model.weights.h5"))) as file:
        file["layers"].visititems(lambda _, node: stored.append(node.size) if isinstance(node, h5py.Dataset) else None)
    assert sum(stored) == sum(np.prod(variable.shape, dtype=int) for variable in opened.variables)


@pytest.mark.slow
def test_in_another_process(tuned, tmp_path):
    path, expected = tuned
    np.save(tmp_path / "images.npy", IMAGES)
    script = (
        "import sys, keras, keras_nest, numpy as np\n"
        "model = keras.saving.load_model(sys.argv[1], safe_mode=False)\n"
        "np.save(sys.argv[3], model.predict(np.load(sys.argv[2]), verbose=0))"
    )
    files = [path, tmp_path / "images.npy", tmp_path / "out.npy"]
    subprocess.run([sys.executable, "-c", script, *map(str, files)], check=True, capture_output=True)
    np.testing.assert_allclose(np.load(tmp_path / "out.npy"), expected, atol=1e-5)


def test_weights_file_and_clone(tuned, opened, tmp_path):
    _, expected = tuned
    opened.save_weights(tmp_path / "tuned.weights.h5")
    clone = keras.models.clone_model(opened)
    assert np.abs(clone(IMAGES)).max() == 0, "zeros, until weights are read"
    clone.load_weights(tmp_path / "tuned.weights.h5")
    np.testing.assert_array_equal(clone(IMAGES), expected)


@pytest.mark.slow
def test_in_a_functional_model_under_replicas(directory):
    strategy = training.create_strategy("mirrored")
    with strategy.scope():
        inputs = keras.Input((16, 16, 3))
        model = keras.Model(inputs, keras.layers.Dense(3)(HubLayer(directory, trainable=True)(inputs)))
        trainer = training.Trainer(model)
        trainer.compile(training.AdamW(0.01), training.cross_entropy)
    batches = tf.data.Dataset.from_tensors((IMAGES, LABELS)).repeat(5)
    losses = trainer.fit(batches, verbose=0, epochs=2, shuffle=False).history["loss"]
    assert losses[1] < losses[0]


def test_under_mixed_precision_it_keeps_its_own_dtypes(nest, directory):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        found = HubLayer(directory)(IMAGES)
    finally:
        keras.config.set_dtype_policy(before)
    np.testing.assert_allclose(found, nest(IMAGES), atol=1e-5)


def module_of_others(vocabulary):
    """Words in, no `training`, a table, several outputs, a variable that is not trained."""
    module = tf.train.Checkpoint()
    module.vocabulary = tf.saved_model.Asset(str(vocabulary))
    line, word = tf.lookup.TextFileIndex.LINE_NUMBER, tf.lookup.TextFileIndex.WHOLE_LINE
    entries = tf.lookup.TextFileInitializer(module.vocabulary, tf.string, word, tf.int64, line)
    module.table = tf.lookup.StaticHashTable(entries, -1)
    embedding = tf.Variable(tf.random.stateless_normal((3, 4), (1, 2)), name="scope/embedding")
    count = tf.Variable(7, trainable=False)
    module.variables, module.trainable_variables = [embedding, count], [embedding]

    @tf.function(input_signature=[tf.TensorSpec((None,), tf.string)])
    def call(words):
        return {"vectors": tf.gather(embedding, module.table.lookup(words)), "count": count + 0}

    module.__call__ = call
    return module


def test_modules_of_others(tmp_path):
    (tmp_path / "words.txt").write_text("cat\ndog\nowl\n")
    module, words = module_of_others(tmp_path / "words.txt"), tf.constant(["owl", "cat"])
    tf.saved_model.save(module, tmp_path / "module")
    layer = HubLayer(tmp_path / "module", trainable=True)
    assert [v.shape for v in layer.trainable_variables] == [(3, 4)]
    assert [v.dtype for v in layer.non_trainable_variables] == ["int32"]
    inputs = keras.Input((), dtype="string")
    model = keras.Model(inputs, layer(inputs))
    expected = module.__call__(words)
    model.save(tmp_path / "words.keras")
    shutil.rmtree(tmp_path / "module")
    (tmp_path / "words.txt").unlink()
    for one in (model, keras.saving.load_model(tmp_path / "words.keras", safe_mode=False)):
        found = one(words)
        assert set(found) == {"vectors", "count"}
        np.testing.assert_array_equal(found["vectors"], expected["vectors"])
        assert int(found["count"]) == 7


def test_what_is_no_module(tmp_path, directory):
    with pytest.raises(FileNotFoundError, match=r"no SavedModel in \S+/nowhere: it holds no saved_model.pb\.$"):
        HubLayer(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match=f"it holds no saved_model.pb. {directory} does.$"):
        HubLayer(directory.parent)
    uncallable = tf.Module()
    uncallable.weight = tf.Variable(1.0)
    tf.saved_model.save(uncallable, tmp_path / "uncallable")
    with pytest.raises(ValueError, match=r"is no reusable SavedModel: it cannot be called.$"):
        HubLayer(tmp_path / "uncallable")


def test_another_dtype_is_told(tmp_path):
    module = tf.train.Checkpoint()
    module.__call__ = tf.function(lambda x: tf.reduce_mean(x, (1, 2)), input_signature=[tf.TensorSpec((None, 4, 4, 3))])
    tf.saved_model.save(module, tmp_path)
    layer = keras_nest.HubLayer(tmp_path)
    assert layer(tf.ones((1, 4, 4, 3))).shape == (1, 3)
    for images in (np.ones((1, 4, 4, 3), np.uint8), keras.Input((4, 4, 3), dtype="uint8")):
        with pytest.raises(ValueError, match="Inputs have dtype uint8; the SavedModel takes float32") as error:
            layer(images)
        assert "uint8; the SavedModel takes float32; levels of images are divided by 255" in str(error.value)


class Bomb(tf.saved_model.experimental.TrackableResource):
    """Writes a file when the SavedModel that holds it is loaded."""

    def __init__(self, target):
        super().__init__()
        self.target = str(target)

    def _create_resource(self):
        return tf.raw_ops.MutableHashTableV2(key_dtype=tf.int64, value_dtype=tf.int64)

    def _initialize(self):
        tf.io.write_file(self.target, "ran")

    def _destroy_resource(self):
        pass


@pytest.fixture(scope="module")
def evil(tmp_path_factory):
    """A .keras file, the SavedModel behind it, and the file that says that its graph ran."""
    folder = tmp_path_factory.mktemp("evil")
    module, target = tf.train.Checkpoint(), folder / "ran.txt"
    module.bomb = Bomb(target)
    module.__call__ = tf.function(lambda x: x, input_signature=[tf.TensorSpec((None, 4))])
    tf.saved_model.save(module, folder / "module")
    keras.Sequential([keras.Input((4,)), HubLayer(folder / "module")]).save(folder / "evil.keras")
    return folder / "evil.keras", folder / "module", target


@pytest.fixture
def ran(evil):
    """Whether the graph has run since the test began."""
    evil[2].unlink(missing_ok=True)
    return evil[2].exists


def without_graph(config):
    """A configuration that has its layer open the directory `handle`."""
    if isinstance(config, dict):
        return {key: "" if key == "graph" else without_graph(value) for key, value in config.items()}
    return [without_graph(value) for value in config] if isinstance(config, list) else config


def configuration(path):
    with zipfile.ZipFile(path) as archive:
        return json.loads(archive.read("config.json"))


def rewritten(path, target, change):
    """A .keras file with another configuration."""
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            content = old.read(name)
            new.writestr(name, json.dumps(change(json.loads(content))) if name == "config.json" else content)
    return target


class TestFilesOfOthers:
    def test_no_graph_runs_while_a_file_is_loaded(self, evil, ran):
        with pytest.raises(ValueError, match=r"^The HubLayer 'hub_layer\w*' was not loaded: .*safe_mode=False"):
            keras.saving.load_model(evil[0])
        assert not ran()

    def test_no_directory_is_opened_while_a_file_is_loaded(self, evil, ran, tmp_path):
        with pytest.raises(ValueError, match="was not loaded"):
            keras.saving.load_model(rewritten(evil[0], tmp_path / "handle.keras", without_graph))
        assert not ran()

    @pytest.mark.parametrize("change", [lambda config: config, without_graph])
    @pytest.mark.parametrize(
        "build",
        [
            keras.saving.deserialize_keras_object,
            lambda config: keras.models.model_from_json(json.dumps(config)),
            lambda config: keras.Sequential.from_config(config["config"]),
            lambda config: keras.layers.deserialize(config["config"]["layers"][1]),
        ],
    )
    def test_nothing_is_built_of_a_configuration(self, evil, ran, build, change):
        with pytest.raises(ValueError, match="was not loaded"):
            build(change(configuration(evil[0])))
        assert not ran()

    def test_a_layer_of_another_process_is_not_made_from_its_configuration(self, evil, ran):
        layer = HubLayer(evil[1])
        evil[2].unlink()
        for graph in ("", layer.get_config()["graph"] + "\n"):
            with pytest.raises(ValueError, match="was not loaded"):
                HubLayer.from_config({**layer.get_config(), "graph": graph})
        assert not ran()

    def test_a_class_of_another_package_does_not_open_one_either(self, evil, ran):
        @keras.saving.register_keras_serializable(package="tests_of_hub")
        class Own(HubLayer):
            @classmethod
            def from_config(cls, config):
                return cls(**config)

        config = {"module": None, "class_name": "Own", "registered_name": "tests_of_hub>Own"}
        with pytest.raises(ValueError, match="was not loaded"):
            keras.saving.deserialize_keras_object({**config, "config": {"handle": str(evil[1])}})
        assert not ran()

    def test_permission_is_keras_own(self, evil):
        images = np.ones((2, 4), np.float32)
        model = keras.saving.load_model(evil[0], safe_mode=False)
        np.testing.assert_array_equal(model(images), images)
        config = model.layers[0].get_config()
        assert HubLayer.from_config({**config, "graph": ""}, safe_mode=False).handle == str(evil[1])
        with pytest.raises(ValueError, match="was not loaded"):
            HubLayer.from_config(config, safe_mode=True)

    def test_copies_of_what_is_there_need_none(self, evil):
        layer = HubLayer(evil[1])
        model = keras.Sequential([keras.Input((4,)), layer])
        images = np.ones((2, 4), np.float32)
        for copied in (keras.models.clone_model(model), copy.deepcopy(model), HubLayer.from_config(layer.get_config())):
            np.testing.assert_array_equal(copied(images), images)
