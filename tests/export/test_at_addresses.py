"""Exports at addresses: what lies there is what lies here, and runs from there."""

import pathlib

import numpy as np
import pytest
import tensorflow as tf

import keras_nest
from keras_nest import conversion, export, outputs
from keras_nest.conversion.pytorch.write import WRITERS
from keras_nest.export import versions
from keras_nest.exported import find_saved_model
from keras_nest.generative.export import generator_to_saved_model, generator_to_tflite
from keras_nest.places import Address
from keras_nest.predict import open_predictor
from keras_nest.tflite import TFLiteModel
from tests.buckets_in_memory import failing, there
from tests.export import toy_lit, toys
from tests.generative import test_export as generators

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:tensorflow")


@pytest.fixture
def bucket(request):
    outputs._check_writable.cache_clear()
    return f"ram://{request.node.name.replace('[', '-').replace(']', '')}/models"


@pytest.fixture(scope="module")
def model():
    return toys.build("mixer")


def assert_is(path, address):
    assert isinstance(path, Address)
    assert str(path) == address


@pytest.mark.slow
def test_versions(model, bucket):
    """TensorFlow serves them from there; a version that was broken off is none, and the next try is it."""
    images = toys.pixels(2)
    path = export.publish(model, bucket, class_names=toys.CLASS_NAMES)
    assert_is(path, f"{bucket}/1")
    loaded = tf.saved_model.load(str(path))
    np.testing.assert_allclose(loaded(images), toys.logits(model, images), atol=1e-5)
    assert export.read_signatures(path).keys() == {*toys.SIGNATURES}
    predictor = open_predictor(bucket)
    assert predictor.class_names == toys.CLASS_NAMES
    shares = predictor.probabilities([np.zeros((20, 30, 3), np.uint8)])
    with failing(8), pytest.raises(OSError, match=f"^{bucket}/2 cannot be written to: 503.$"):
        export.publish(model, bucket)
    assert str(find_saved_model(bucket)) == f"{bucket}/1"
    assert_is(export.publish(model, bucket, class_names=toys.CLASS_NAMES), f"{bucket}/2")
    np.testing.assert_allclose(open_predictor(bucket).probabilities([np.zeros((20, 30, 3), np.uint8)]), shares)


@pytest.fixture
def quick(monkeypatch):
    """Stands in for the export where only the directories matter."""

    def write(model, path, **options):
        path.mkdir()
        for name in ("saved_model.pb", "variables"):
            (path / name).write_text(model)

    monkeypatch.setattr(versions, "to_saved_model", write)
    monkeypatch.setattr(versions, "read_signatures", lambda path: {})
    monkeypatch.setattr(versions, "model_card", lambda *args, **options: "card")


class TestVersions:
    @pytest.fixture
    def bucket(self, tmp_path):
        """ram:// takes 2.tar.gz for something in the directory 2."""
        outputs._check_writable.cache_clear()
        return f"file://{tmp_path}/models"

    def test_numbers(self, quick, bucket):
        for number in ("1", "2"):
            assert_is(export.publish(number, bucket), f"{bucket}/{number}")
        assert_is(export.publish("3", bucket, overwrite=True, archive=True), f"{bucket}/2")
        files = there(bucket)
        assert files["2/saved_model.pb"] == "3"
        names = ("README.md", "saved_model.pb", "variables")
        assert files.keys() == {"2.tar.gz", *(f"{number}/{name}" for number in (1, 2) for name in names)}
        export.publish("4", bucket, overwrite=True)
        assert "2.tar.gz" not in there(bucket), "it holds what was replaced"

    @pytest.mark.parametrize("number", range(1, 16, 2))
    def test_one_that_was_broken_off_is_none(self, quick, bucket, number):
        """Nor is there an archive without its version."""
        export.publish("1", bucket)
        outputs._check_writable.cache_clear()
        with failing(number), pytest.raises(OSError, match=r" cannot be written to: 503.$"):
            export.publish("2", bucket, archive=True)
        whole = Address(f"{bucket}/2").exists()
        assert not Address(f"{bucket}/2.tar.gz").exists()
        assert str(find_saved_model(bucket)) == f"{bucket}/{2 if whole else 1}"
        assert_is(export.publish("3", bucket, overwrite=whole, archive=True), f"{bucket}/2")
        assert there(bucket)["2/saved_model.pb"] == "3"

    def test_a_file_is_no_directory(self, quick, bucket):
        outputs._write(bucket, "file")
        with pytest.raises(NotADirectoryError, match=f"^{bucket} is a file"):
            export.publish("1", bucket)


def test_tflite(model, bucket, tmp_path):
    options = {"precisions": ["float32"], "images": toys.pixels(2), "class_names": toys.CLASS_NAMES}
    (row,) = export.to_tflite(model, bucket, **options)
    export.to_tflite(model, tmp_path, **options)
    assert row["file"] == "float32.tflite"
    place = Address(bucket) / "float32.tflite"
    assert place.read_bytes() == (tmp_path / "float32.tflite").read_bytes()
    assert {path.name for path in Address(bucket).iterdir()} == {"float32.tflite", "float32.json"}
    images = toys.pixels(3)
    outputs = [TFLiteModel(path)(images)["probabilities"] for path in (place, tmp_path / "float32.tflite")]
    np.testing.assert_array_equal(*outputs)
    assert open_predictor(place).class_names == toys.CLASS_NAMES
    with pytest.raises(FileExistsError, match=f"^{place} exists already"):
        export.to_tflite(model, bucket, **options)


@pytest.mark.slow
def test_lit(bucket):
    """With its vocabulary, which is read there too."""
    model, vocabulary = toy_lit.build(), toy_lit.vocabulary()
    words = Address(bucket) / "words.txt"
    with outputs.output_at(words) as partial:
        partial.write_bytes(vocabulary.read_bytes())
    export.to_tflite(model, f"{bucket}/lit", ["float32"], vocab=words)
    assert (Address(bucket) / "lit/text/vocab.txt").read_bytes() == vocabulary.read_bytes()
    assert (Address(bucket) / "lit/image/float32.tflite").is_file()
    tokens = [keras_nest.get_tokenizer(path)(toy_lit.TEXTS) for path in (words, vocabulary)]
    np.testing.assert_array_equal(*tokens)


@pytest.mark.parametrize(
    ("write", "name"),
    [pytest.param(export.to_onnx, "x.onnx", marks=pytest.mark.slow), (export.to_keras, "x.keras")],
)
def test_one_file(model, write, name, bucket, tmp_path):
    place = f"{bucket}/{name}"
    assert_is(write(model, place), place)
    write(model, tmp_path / name)
    assert abs(outputs.size(place) - outputs.size(tmp_path / name)) < 100, "but for its date"
    with pytest.raises(FileExistsError, match=f"^{place} exists already"):
        write(model, place)
    write(model, place, overwrite=True)


@pytest.mark.parametrize("name", ["x.npz", "x.msgpack", "x"])
def test_checkpoints(model, name, bucket):
    place = f"{bucket}/{name}"
    count = conversion.write_checkpoint(model, place)
    again = conversion.read_checkpoint(place)
    assert len(again) == count
    tree = conversion.model_tree(model)
    assert all(np.array_equal(tree[path], value) for path, value in again.items())


def test_timm(bucket):
    WRITERS["timm"](toys.build("vit", activation="gelu"), f"{bucket}/x")
    assert {path.name for path in Address(f"{bucket}/x").iterdir()} == {"config.json", "model.safetensors"}
    assert keras_nest.open_model(f"{bucket}/x").model.num_classes == toys.build("vit").num_classes


@pytest.mark.parametrize("kind", ["orbax", "timm"])
def test_a_directory_whose_way_was_broken_off_is_no_checkpoint(kind, bucket):
    model, place = toys.build("vit", activation="gelu"), Address(f"{bucket}/x")
    write = {"orbax": conversion.write_checkpoint, **WRITERS}[kind]
    write(model, place)
    outputs._write(str(place.partial), "by a process that was killed then")
    with pytest.raises(FileNotFoundError, match=f"^{place} was begun and never completed; write it again.$"):
        conversion.read_checkpoint(place)
    write(model, place)
    assert conversion.read_checkpoint(place)


@pytest.mark.slow
def test_generators(bucket):
    model = generators.build(num_classes=0)
    assert_is(generator_to_saved_model(model, f"{bucket}/1"), f"{bucket}/1")
    (file,) = generator_to_tflite(model, f"{bucket}/lite", ["float32"])
    assert_is(file, f"{bucket}/lite/float32.tflite")
    images = tf.saved_model.load(f"{bucket}/1")(generators.NOISE)
    np.testing.assert_allclose(images, model(generators.NOISE), atol=1e-5)


def test_a_path_of_this_machine_stays_one(model, tmp_path):
    assert export.to_keras(model, str(tmp_path / "x.keras")) == pathlib.Path(tmp_path / "x.keras")
