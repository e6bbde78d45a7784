"""The names of ImageNet's classes, and where models with published heads show them."""

import logging

import numpy as np
import pytest
import tensorflow as tf

import keras_nest
from keras_nest import cli, export
from keras_nest.export.exporters import exporter_for
from keras_nest.imagenet import find_dataset, read_classes
from keras_nest.predict.open import open_predictor
from keras_nest.registry import dataset_of_head
from tests import families, keras_models

# As the papers and other libraries number them.
KNOWN = {
    "imagenet2012": {
        **{0: ("n01440764", "tench"), 1: ("n01443537", "goldfish"), 281: ("n02123045", "tabby")},
        **{207: ("n02099601", "golden retriever"), 999: ("n15075141", "toilet tissue")},
        **{134: ("n02012849", "crane (wading bird)"), 517: ("n03126707", "crane (lifting device)")},
    },
    "imagenet21k": {0: ("n00004475", "organism"), 1: ("n00005787", "benthos (organism)"), 21842: ("n15102894", None)},
}


class TestTables:
    @pytest.mark.parametrize(("num_classes", "dataset"), [(1000, "imagenet2012"), (21843, "imagenet21k")])
    def test_order_number_and_distinct_names(self, num_classes, dataset):
        classes = read_classes(dataset)
        assert len(classes) == num_classes
        assert find_dataset(num_classes) == dataset
        assert [each.wnid for each in classes] == sorted({each.wnid for each in classes})
        assert len({each.name.casefold() for each in classes}) == num_classes
        assert all(each.name.strip() == each.name != "" for each in classes)
        for index, (wnid, name) in KNOWN[dataset].items():
            assert classes[index].wnid == wnid
            assert name in (None, classes[index].name)

    def test_one_data_set_is_nearly_in_the_other(self):
        small, large = ({each.wnid for each in read_classes(name)} for name in KNOWN)
        assert small - large == {"n04399382"}  # the teddy, which ImageNet-21k lacks

    def test_unknown_ones(self):
        assert find_dataset(10) is None
        with pytest.raises(ValueError, match="must be one of 'imagenet2012', 'imagenet21k'"):
            read_classes("cifar10")


class TestDecodePredictions:
    def test_probabilities_stay_and_logits_get_a_softmax(self):
        logits = np.random.default_rng(0).standard_normal((2, 1000)).astype(np.float32)
        logits[0, 281], logits[1, 7] = 9, 9
        shares = tf.nn.softmax(logits).numpy()
        for given in (logits, shares, tf.constant(shares)):
            rows = keras_nest.decode_predictions(given, top=3)
            assert [len(row) for row in rows] == [3, 3]
            assert rows[0][0][:2] == ("n02123045", "tabby")
            assert rows[1][0][:2] == ("n01514668", "cock")
            for row, expected in zip(rows, shares, strict=True):
                np.testing.assert_allclose([score for *_, score in row], np.sort(expected)[::-1][:3], rtol=1e-5)
                assert all(type(score) is float for *_, score in row)

    def test_of_imagenet_21k(self):
        ((first, *others),) = keras_nest.decode_predictions(np.eye(1, 21843, dtype=np.float16))
        assert first == ("n00004475", "organism", 1.0)
        assert len(others) == 4

    def test_of_a_sigmoid(self, caplog):
        shares = np.linspace(0, 1, 1000)[None]
        assert keras_nest.decode_predictions(shares, 1, from_logits=False)[0][0][2] == 1.0
        assert not caplog.messages
        assert keras_nest.decode_predictions(shares, 1)[0][0][2] < 0.01
        assert "from_logits=False takes them for probabilities" in caplog.text

    def test_zeros_are_logits_of_a_new_head(self, caplog):
        assert keras_nest.decode_predictions(np.zeros((1, 1000)), 1) == [[("n01440764", "tench", pytest.approx(0.001))]]
        assert not caplog.messages

    @pytest.mark.parametrize(
        ("predictions", "top", "message"),
        [
            (np.zeros((1, 10)), 5, r"have the shape \(1, 10\); they must be those of ImageNet"),
            (np.zeros(1000), 5, r"have the shape \(1000,\)"),
            (np.zeros((1, 1000)), 0, "top is 0; it must be 1 or more"),
            (np.full((1, 1000), np.nan), 5, "hold NaN or infinity"),
        ],
    )
    def test_what_it_refuses(self, predictions, top, message):
        with pytest.raises(ValueError, match=message):
            keras_nest.decode_predictions(predictions, top)


TOY = {"image_size": 16, "patch_size": 8, "hidden_size": 8, "num_layers": 1, "num_heads": 2, "mlp_dim": 8}


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """A checkpoint as they are published, of a toy with 1000 classes."""
    folder = tmp_path_factory.mktemp("published")
    return keras_models.write_untold(families.vit(num_classes=1000, **TOY), folder / "Ti_16.npz")


@pytest.fixture(scope="module")
def model(published):
    return keras_nest.create_model("ViT-Ti_16", weights=str(published), **TOY)


@pytest.fixture(scope="module")
def saved(model, tmp_path_factory):
    path = tmp_path_factory.mktemp("saved") / "published.keras"
    model.save(path)
    return path


class TestPublishedHead:
    def test_of_names_and_numbers_of_classes(self):
        assert dataset_of_head("ViT-B_16", 1000) == "imagenet2012"
        assert dataset_of_head("Mixer-B_16", 21843) == "imagenet21k"
        assert dataset_of_head("ViT-B_16", 37) is None
        assert dataset_of_head("nest_tiny_s16_32", 1000) is None
        assert dataset_of_head("LiT-B16B", 1000) is None

    def test_is_known_of_a_checkpoint_and_of_the_file_it_becomes(self, model, saved, tmp_path, caplog):
        assert model.head_dataset == "imagenet2012"
        caplog.set_level(logging.INFO, "keras_nest")
        loaded = keras_nest.open_model(saved)
        assert loaded.class_names[:2] == ("tench", "goldfish")
        assert caplog.messages == [
            "The 1000 class names are those of ImageNet, as of published heads; labels names others."
        ]
        fields = {"dropout_rate": 0.1, "image_size": 24, "dtype": "mixed_bfloat16"}
        assert keras_nest.create_model(weights=str(saved), **fields).head_dataset == "imagenet2012"
        quantized = loaded.model
        quantized.get_layer("head").quantize("int8")
        quantized.save(tmp_path / "int8.keras")
        assert keras_nest.open_model(tmp_path / "int8.keras").class_names[0] == "tench"

    def test_another_head_is_none(self, published, saved):
        for source in ({"name": "ViT-Ti_16", "weights": str(published), **TOY}, {"weights": str(saved)}):
            assert keras_nest.create_model(**source, reinit_head=True).head_dataset is None
        assert keras_nest.create_model(weights=str(saved), num_classes=0).head_dataset is None
        assert families.vit(num_classes=1000, **TOY).head_dataset is None

    def test_a_head_that_was_trained_on_is_none(self, saved, tmp_path):
        model = keras_nest.open_model(saved).model
        model.get_layer("head").bias.assign_add([1e-6] * 1000)  # as every step does
        model.save(tmp_path / "tuned.keras")
        assert keras_nest.open_model(tmp_path / "tuned.keras").class_names is None

    def test_names_that_lie_beside_a_file_go_first(self, model, tmp_path):
        model.save(tmp_path / "own.keras")
        (tmp_path / "classes.txt").write_text("".join(f"own {i}\n" for i in range(1000)))
        assert keras_nest.open_model(tmp_path / "own.keras").class_names[0] == "own 0"


class TestExports:
    def test_published_version(self, model, tmp_path):
        folder = export.publish(model, tmp_path / "versions", warm_up=False)
        assert (folder / "assets/labels.txt").read_text().startswith("tench\ngoldfish\n")
        assert "1000, in the order of `assets/labels.txt`: tench, goldfish," in (folder / "README.md").read_text()

    def test_tflite_and_others(self, model):
        """What `to_tflite` packs into files."""
        own, other = exporter_for(model), exporter_for(families.vit(num_classes=1000, **TOY))
        assert own.tflite_sources(1)[0].files["labels.txt"].split("\n")[:2] == ["tench", "goldfish"]
        assert own.tflite_sources(1, class_names=["own"] * 1000)[0].files["labels.txt"].startswith("own\n")
        assert "labels.txt" not in other.tflite_sources(1)[0].files
        assert own.labels([]) is own.labels(None, head="none") is other.labels(None) is None

    def test_predict_on_the_command_line(self, saved, tmp_path, capsys):
        (tmp_path / "p.png").write_bytes(tf.io.encode_png(np.zeros((16, 16, 3), np.uint8)).numpy())
        arguments = ["predict", str(tmp_path / "p.png"), "--model", str(saved), "--top", "1000"]
        assert cli.main([*arguments]) == 0
        assert "golden retriever" in capsys.readouterr().out
        (tmp_path / "own.txt").write_text("".join(f"own {i}\n" for i in range(1000)))
        assert open_predictor(saved, labels=tmp_path / "own.txt").name_of(0) == "own 0"
