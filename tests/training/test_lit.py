"""Tuning a LiT through the door of all trainings: captioned digits, and lists of images and captions."""

import csv
import functools
import pathlib

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_nest
from keras_nest import data
from keras_nest.cli.train import main
from keras_nest.opening import open_model
from keras_nest.training import create_strategy, distribute
from keras_nest.training import lit as lit_task
from keras_nest.training.evaluation import ZeroShotEvaluator
from keras_nest.zero_shot import ZeroShotClassifier
from tests.training import runs

ROOT = pathlib.Path(__file__).resolve().parents[2]
VOCABULARY = ROOT / "configs" / "digits_vocab.txt"
DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
TEMPLATES = ("the digit {}", "{}")
TEXT = {"vocab_size": 22, "hidden_size": 16, "num_layers": 1, "num_heads": 2, "mlp_dim": 16, "max_len": 6}
IMAGE = {"patch_size": 8, "hidden_size": 16, "num_layers": 1, "num_heads": 2, "mlp_dim": 16}
CONFIG = {
    "model_name": "LiT-B16B_2",
    "model": {"image_size": 16, "image_model": IMAGE, "text_model": {**TEXT, "out_dim": 16}, "temperature_init": 10.0},
    "vocab": str(VOCABULARY),
    "dataset": "digits",
    "class_texts": DIGITS,
    "templates": TEMPLATES,
    "num_epochs": 1,
    "per_device_batch_size": 240,
    "learning_rate": 0.01,
    "ema_decay": 0.5,
}
LISTED = {field: value for field, value in CONFIG.items() if field not in ("class_texts", "templates")}


@pytest.fixture(scope="module")
def tuned(tmp_path_factory, finished):
    """Directory, metrics and saved model of texts tuned to a trained tower, which is opened once."""
    workdir, opened = tmp_path_factory.mktemp("runs") / "lit", []
    config = {**CONFIG, "model": {"text_model": TEXT, "temperature_init": 10.0}, "image_tower": str(finished[0])}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lit_task, "open_model", lambda path: opened.append(path) or open_model(path))
        metrics = main(config, workdir)
    assert opened == [str(finished[0])]
    return workdir, metrics, keras.models.load_model(workdir / "model.keras")


@pytest.fixture(scope="module")
def lists(tmp_path_factory):
    """Ten digits for training and for testing, one caption each."""
    folder = tmp_path_factory.mktemp("lists")
    for name, split in zip(("train", "test"), data.sources.digits.load(16)[:2], strict=True):
        with (folder / f"{name}.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(("image", "caption"))
            for label in range(10):
                image = split.images[np.flatnonzero(split.labels == label)[0]]
                tf.io.write_file(str(folder / f"{name}{label}.png"), tf.io.encode_png(image))
                writer.writerow((f"{name}{label}.png", f"a photo of {DIGITS[label]}"))
    return folder


@functools.cache
def lit():
    fields = {"image_model": IMAGE, "text_model": {**TEXT, "out_dim": 16}}
    model = keras_nest.create_model("LiT-B16B_2", image_size=16, **fields)
    rng = np.random.default_rng(0)
    for variable in model.weights:
        variable.assign(0.5 * rng.standard_normal(variable.shape))
    return model


class TestClasses:
    @pytest.mark.slow
    def test_what_is_left(self, tuned):
        workdir, metrics, _ = tuned
        assert runs.files(workdir) == runs.FILES | {"vocab.txt"}
        assert (workdir / "vocab.txt").read_bytes() == VOCABULARY.read_bytes()
        assert (workdir / "classes.txt").read_text().split() == list(DIGITS)
        assert metrics["examples"] == 360

    @pytest.mark.slow
    def test_accuracy_is_that_of_the_classifier_on_the_saved_model(self, tuned):
        workdir, metrics, model = tuned
        tokenizer = keras_nest.get_tokenizer(workdir / "vocab.txt", max_len=6)
        _, test, _ = data.sources.digits.load(32)
        found = ZeroShotClassifier(model, tokenizer, DIGITS, TEMPLATES).probabilities(test.images)
        assert np.mean(found.argmax(axis=1) == test.labels) == pytest.approx(metrics["top1"], abs=1e-6)
        assert -np.mean(np.log(found[np.arange(360), test.labels])) == pytest.approx(metrics["loss"], abs=1e-4)

    @pytest.mark.slow
    def test_a_trained_tower_without_its_head_stays_bit_for_bit(self, finished, tuned):
        trained, model = keras.models.load_model(finished[0] / "model.keras"), tuned[2]
        locked, new = model.image_model, keras.models.clone_model(model.text_model)
        assert not locked.trainable_variables
        for layer in locked.layers:
            for ours, theirs in zip(layer.get_weights(), trained.get_layer(layer.name).get_weights(), strict=True):
                np.testing.assert_array_equal(ours, theirs)
        for one, other in zip(model.text_model.get_weights(), new.get_weights(), strict=True):
            assert not np.array_equal(one, other)


class TestCaptions:
    @pytest.mark.slow
    def test_pairs_are_told_apart(self, lists, tmp_path):
        config = {**LISTED, "dataset": str(lists), "num_epochs": 2, "per_device_batch_size": 10}
        metrics = main(config, tmp_path / "run")
        assert runs.files(tmp_path / "run") == runs.FILES - {"classes.txt", "confusion.png"} | {"vocab.txt"}
        assert metrics["examples"] == 10
        assert 0 <= metrics["top1"] <= metrics["top5"] <= 1

    @pytest.mark.slow
    def test_recall_at_1(self, lists):
        """One caption an image: accuracy is that of retrieval."""
        model, tokenizer = lit(), keras_nest.get_tokenizer(VOCABULARY, max_len=6)
        source = data.open_source(lists)
        evaluator = ZeroShotEvaluator(model, tokenizer, data.Captions(tokenizer).of_test(source))
        recipe = data.Recipe(model.config["preprocessing"])
        (images, *_), *_ = batches = list(data.eval_batches(source, recipe, (16, 16), 10))
        measured = evaluator(tf.data.Dataset.from_tensors(batches[0]))
        outputs = model({"images": images, "tokens": tokenizer([f"a photo of {name}" for name in DIGITS])})
        best = np.argmax(np.asarray(outputs["zimg"]) @ np.transpose(outputs["ztxt"]), axis=1)
        assert measured["accuracy"] == pytest.approx(np.mean(best == np.arange(10)))


@pytest.mark.slow
def test_evaluation_is_zero_shot_classification():
    """What a training measures and what `ZeroShotClassifier` answers are one thing."""
    model, tokenizer = lit(), keras_nest.get_tokenizer(VOCABULARY, max_len=6)
    evaluator = ZeroShotEvaluator(model, tokenizer, data.captions.captions_of_classes(DIGITS, TEMPLATES))
    evaluator(tf.data.Dataset.from_tensors((np.zeros((1, 16, 16, 3), np.float32), [0], [1.0])))
    expected = keras_nest.ZeroShotClassifier(model, tokenizer, DIGITS, TEMPLATES).embeddings
    np.testing.assert_allclose(evaluator._similarities.embeddings, expected, atol=1e-6)


@pytest.mark.slow
def test_evaluation_on_two_replicas():
    tokenizer = keras_nest.get_tokenizer(VOCABULARY, max_len=6)
    captions = data.captions.captions_of_classes(DIGITS, TEMPLATES)
    rng = np.random.default_rng(0)
    batch = rng.standard_normal((40, 16, 16, 3)).astype(np.float32), np.arange(40) % 10, np.ones(40, np.float32)
    found = []
    for strategy in (tf.distribute.get_strategy(), create_strategy("mirrored")):
        with strategy.scope():
            evaluator = ZeroShotEvaluator(lit.__wrapped__(), tokenizer, captions)
        found.append(evaluator(distribute(strategy, lambda host: tf.data.Dataset.from_tensors(batch))))
    for name in ("accuracy", "top5", "loss"):
        assert found[0][name] == pytest.approx(found[1][name], abs=1e-6)
    assert len(set(evaluator.confusion.argmax(axis=1))) > 1


class TestBadInput:
    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"vocab": ""}, "does not say vocab; a LiT needs the vocabulary file of its text tower"),
            ({"class_texts": DIGITS[:9]}, "class_texts has 9 texts, but digits has 10 classes"),
            ({"class_texts": (*DIGITS[:9], "one")}, "more than one label 'one'"),
            ({"templates": ("a photo",)}, "The template 'a photo' has no {}"),
            ({"templates": ()}, "no templates"),
            ({"accum_steps": 2}, "accum_steps is 2; for a LiT"),
            ({"transfer": "uint8"}, "transfer is 'uint8'; for a LiT"),
            ({"mix": {"mixup_alpha": 0.8}}, "mix is {'mixup_alpha': 0.8}; for a LiT"),
            ({"image_tower": "tower.keras"}, "image_tower and model.image_model both"),
            ({"image_tower": "tower.keras", "eval_only": True}, "eval_only needs a whole LiT"),
            (
                {"model": {**CONFIG["model"], "text_model": {**TEXT, "out_dim": 16, "vocab_size": 21}}},
                "has 22 tokens, but .* 21 rows",
            ),
            ({"model_name": "ViT-B_16", "model": {}}, "vocab is a field of LiT; ViT-B_16 has no text tower"),
        ],
    )
    def test_is_one_sentence(self, changes, message, tmp_path):
        with pytest.raises(ValueError, match=message):
            main({**CONFIG, **changes}, tmp_path / "run")
        assert not (tmp_path / "run").exists()

    def test_classifiers_do_not_train_on_captions(self, lists, tmp_path):
        config = {**runs.CONFIG, "dataset": str(lists), "per_device_batch_size": 10}
        with pytest.raises(ValueError, match="has captions and no classes; train a LiT on it"):
            main(config, tmp_path / "run")
