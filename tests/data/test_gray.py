"""Images of one channel, from a folder to a trained, served model."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import keras_nest
from keras_nest import data, export
from keras_nest.cli.train import main
from keras_nest.predict.open import open_predictor
from tests.training import runs

FIELDS = {"in_channels": 1, "image_size": 16, "num_classes": 2, "embedding_dim": 4, "num_heads": 2}
FIELDS |= {"init_patch_embed_size": 4, "num_layers_per_block": (1, 1)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Dark and bright scans, gray files and a colored one."""
    root = tmp_path_factory.mktemp("scans")
    rng = np.random.default_rng(0)
    for split, count in (("train", 8), ("test", 4)):
        for name, low in (("dark", 0), ("light", 150)):
            (root / split / name).mkdir(parents=True)
            for number in range(count):
                pixels = rng.integers(low, low + 100, (20, 20), np.uint8)
                Image.fromarray(pixels).save(root / split / name / f"{number}.png")
    colors = rng.integers(0, 100, (20, 20, 3), np.uint8)
    Image.fromarray(colors).save(root / "test" / "dark" / "colored.png")
    return root


@pytest.mark.slow
def test_batches_are_what_the_preprocessor_makes_of_the_files(folder):
    model = keras_nest.create_model("nest_tiny_s16_32", **FIELDS)
    spec = model.config["preprocessing"]
    for recipe in ("plain", data.Recipe(spec)):
        _, test, _ = data.load(folder, recipe, image_size=16, batch_size=9, channels=1)
        images = next(iter(test))[0]
        assert images.shape == (9, 16, 16, 1)
    files = sorted((folder / "test").rglob("*.png"))
    prepare = keras_nest.preprocessor(model)
    expected = [prepare(np.asarray(Image.open(file).convert("RGB"))) for file in files]
    np.testing.assert_allclose(images, expected, rtol=0, atol=2e-6)


@pytest.mark.slow
@pytest.mark.parametrize(("recipe", "transfer"), [("nest", "float32"), ("shift", "uint8")])
def test_every_stage_takes_them(folder, recipe, transfer):
    train, _, info = data.load(folder, recipe, image_size=16, batch_size=4, channels=1, transfer=transfer)
    images, labels = next(iter(train))
    if transfer == "uint8":
        made = data.create_recipe(recipe, info, (16, 16)).for_channels(1)
        images, labels = made.finish(*(images[:1]), labels, images[1], info.num_classes)
    assert images.shape == (4, 16, 16, 1)
    assert np.isfinite(images).all()


def test_colors_become_what_pillow_makes_of_them():
    pixels = np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)
    recipe = data.Recipe({"mean": [0.0], "std": [1.0]}, channels=1)
    found = 255 * recipe.test_image(data.sources.base.Example(tf.constant(pixels), tf.constant(0), None), (16, 16))
    gray = np.asarray(Image.fromarray(pixels).convert("L"), np.float32)
    assert np.abs(found[..., 0] - gray).max() <= 1


def test_other_numbers_of_channels_are_refused(folder):
    with pytest.raises(ValueError, match=r"1 or 3 channels, and 4 are asked for \(in_channels\)"):
        data.load(folder, image_size=16, batch_size=2, channels=4)


@pytest.mark.slow
def test_a_training_through_its_command_and_its_model_served(folder, tmp_path):
    config = {**runs.CONFIG, "dataset": str(folder), "model": {**FIELDS, "num_classes": 2}, "num_epochs": 3}
    config |= {"per_device_batch_size": 8, "input_size": 16, "learning_rate": 0.3, "warmup_epochs": 0}
    metrics = main(config, tmp_path / "run")
    assert metrics["top1"] > 0.8
    assert json.loads((tmp_path / "run" / "config.json").read_text())["model"]["in_channels"] == 1
    files = sorted((folder / "test").rglob("*.png"))
    images = [np.asarray(Image.open(file).convert("RGB")) for file in files]
    answers = open_predictor(tmp_path / "run").probabilities(images)
    assert np.mean(answers.argmax(-1) == ["light" in str(file) for file in files]) == metrics["top1"]
    model = keras.saving.load_model(tmp_path / "run" / "model.keras")
    served = tf.saved_model.load(export.to_saved_model(model, tmp_path / "served")).signatures["serving_bytes"]
    found = served(image_bytes=tf.constant([file.read_bytes() for file in files]))["probabilities"]
    np.testing.assert_allclose(found, answers, rtol=0, atol=2e-5)
