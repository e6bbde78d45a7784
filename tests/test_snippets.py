"""Snippets that train, of the README, the guides and docstrings: run as written on real digits, they learn.

Only names are stood in for: a toy for the model that is created, digits for data, and as many epochs and as large a
rate as it takes.
"""

import inspect
import re
import textwrap

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_nest
from keras_nest import data, specs, training
from keras_nest.data.sources import digits
from tests.pages import block

TOY = {"embedding_dim": 24, "num_heads": 2, "num_layers_per_block": (1, 1), "init_patch_embed_size": 4}
TOY |= {"image_size": 16, "num_classes": 10, "stochastic_depth_drop": 0.0}
# That of the digits at this size, or `fit` would warn.
TOY |= {"preprocessing": specs.IMAGENET}
# A tenth would be chance, and what a head of zeros says that never moves.
LEARNED = 0.5


def example(documented):
    """The lines after >>> of a docstring."""
    lines = re.findall(r"^ *(?:>>>|\.\.\.) ?(.*)$", inspect.getdoc(documented), re.MULTILINE)
    return "\n".join(lines)


@pytest.fixture(scope="module")
def pictures():
    """Training and held-out digits, uint8 (N, 16, 16, 3), with their classes."""
    train, test, _ = digits.load(16)
    return train, test


@pytest.fixture
def toy(monkeypatch, tmp_path):
    """`create_model` makes a toy, from a checkpoint with a head of other classes where it is given weights."""
    monkeypatch.chdir(tmp_path)
    keras.utils.set_random_seed(0)
    create = keras_nest.create_model
    create("nest_tiny_s16_32", **{**TOY, "num_classes": 7}).save("checkpoint.keras")

    def create_toy(name, weights=None, reinit_head=False, **fields):
        assert name.startswith("nest_")
        start = {"weights": "checkpoint.keras", "reinit_head": reinit_head} if weights else {}
        return create("nest_tiny_s16_32", **start, **TOY)

    monkeypatch.setattr(keras_nest, "create_model", create_toy)


def accuracy(model, test):
    """On held-out digits."""
    answers = model.predict(keras_nest.preprocessor(model)(test.images), verbose=0)
    return np.mean(np.argmax(answers, -1) == test.labels)


@pytest.mark.slow
def test_fine_tuning_in_the_readme(toy, pictures):
    """A head of zeros moves, and what is saved is what was trained."""
    _, test = pictures
    snippet = block("README.md", "reinit_head=True", "model.compile")
    snippet = snippet.replace('"photos", recipe="nest", image_size=224', '"digits", recipe="shift", image_size=16')
    snippet = snippet.replace("AdamW(1e-4)", "AdamW(6e-3)").replace("epochs=5", "epochs=4")
    exec(snippet, {})
    assert accuracy(keras.saving.load_model("tuned.keras"), test) > LEARNED


@pytest.mark.slow
def test_fine_tuning_in_its_guide(toy, pictures):
    """The same, on arrays."""
    train, test = pictures
    snippet = block("docs/guides/fine-tuning.md", "reinit_head=True", "model.compile")
    snippet = snippet.replace('[load_sample_image("china.jpg"), load_sample_image("flower.jpg")]', "list(pictures)")
    snippet = snippet.replace("np.array([3, 7])", "labels")
    names = {"pictures": train.images, "labels": train.labels}
    exec(snippet, names)
    assert accuracy(keras.saving.load_model("tuned.keras"), test) > LEARNED


@pytest.mark.slow
def test_your_own_model_in_its_guide(monkeypatch, tmp_path, pictures):
    """It learns as written, and goes through all doors."""
    monkeypatch.chdir(tmp_path)
    keras.utils.set_random_seed(0)
    _, test = pictures
    names = {}
    exec(block("docs/guides/your-own-model.md", "model.fit("), names)
    model = keras.saving.load_model("own.keras")
    assert accuracy(model, test) > LEARNED
    exec(block("docs/guides/your-own-model.md", "explain.class_activation_map("), names)
    assert names["where"].shape == (2, 4, 4)
    served = tf.saved_model.load("own")(test.images / np.float32(255))
    assert np.mean(np.argmax(served, -1) == test.labels) == accuracy(model, test)
    exec(block("docs/guides/your-own-model.md", 'name="second"'), names)
    images = keras_nest.preprocessor(model)(test.images[:2])
    np.testing.assert_allclose(names["tuned"](images), names["base"](images), rtol=0, atol=1e-5)


@pytest.mark.slow
def test_replicas_in_the_fine_tuning_guide(toy, pictures):
    """With `fit` alone, and with the trainer."""
    _, test = pictures
    snippet = block("docs/guides/fine-tuning.md", "training.AdamW(", "model.fit(")
    snippet += block("docs/guides/fine-tuning.md", "training.Trainer(", "trainer.fit(")
    snippet = snippet.replace('"cifar10", recipe="nest"', '"digits", recipe="shift"')
    snippet = snippet.replace("image_size=32, batch_size=32", "image_size=16, batch_size=48")
    snippet = snippet.replace("AdamW(1e-3", "AdamW(6e-3").replace("epochs=1", "epochs=4")
    names = {"keras_nest": keras_nest}
    exec(snippet, names)
    assert accuracy(names["model"], test) > LEARNED
    history = names["trainer"].history.history
    assert max(history["accuracy"][-1], history["val_accuracy"][-1]) > LEARNED
    assert keras.saving.load_model("classifier.keras").count_params() == names["classifier"].count_params()


@pytest.mark.slow
def test_trainer_in_its_docstring(toy, pictures):
    train, test = pictures
    model = keras_nest.create_model("nest_tiny")
    images = keras_nest.preprocessor(model)(train.images)
    names = {
        **{name: getattr(training, name) for name in ("Trainer", "AdamW")},
        "create_model": lambda name: model,
        "strategy": training.create_strategy("auto"),
        "train": tf.data.Dataset.from_tensor_slices((images, train.labels)).shuffle(2000, seed=0).batch(48, True),
    }
    exec(example(training.Trainer).replace("epochs=10", "epochs=5"), names)
    assert accuracy(keras.saving.load_model("model.keras"), test) > LEARNED


@pytest.mark.slow
def test_data_in_its_docstring(toy, pictures):
    _, test = pictures
    model = keras_nest.create_model("nest_tiny")
    snippet = example(data).replace('"cifar10", recipe="nest"', '"digits", recipe="shift"')
    snippet = snippet.replace("image_size=32, batch_size=192", "image_size=16, batch_size=48")
    exec(snippet.replace("epochs=300", "epochs=8"), {"keras_nest": keras_nest, "model": model})
    assert accuracy(model, test) > LEARNED


@pytest.mark.slow
@pytest.mark.parametrize("place", ["docstring", "guide"])
def test_contrastive_tuning(place, monkeypatch, tmp_path, pictures):
    """Texts that name the digit find their way to a locked tower: other than by chance, one in a batch."""
    monkeypatch.chdir(tmp_path)
    keras.utils.set_random_seed(0)
    train, _ = pictures
    fields = {"width": 16, "num_layers": 1, "num_heads": 2, "mlp_dim": 16, "vocab_size": 16, "max_len": 4}
    image_tower = keras.Sequential([keras.Input((16, 16, 3)), keras.layers.Flatten()], name="img")
    text_tower = keras_nest.TextTransformer(out_dim=16 * 16 * 3, **fields)
    tokens = np.repeat(train.labels[:, None] + 1, 4, axis=1)
    inputs = {"images": train.images / np.float32(255) - 0.3, "tokens": tokens}
    names = {
        "keras_nest": keras_nest,
        "training": training,
        **{name: getattr(training, name) for name in ("ContrastiveTrainer", "AdamW")},
        "model": keras_nest.LiT(image_tower, text_tower, temperature_init=10.0),
        "strategy": training.create_strategy("auto"),
        **{"image_tower": image_tower, "text_tower": text_tower},
        "batches": tf.data.Dataset.from_tensor_slices(inputs).shuffle(2000, seed=0).batch(48, True),
    }
    snippet = (
        example(training.ContrastiveTrainer) if place == "docstring" else block("docs/guides/lit.md", "Contrastive")
    )
    exec(textwrap.dedent(snippet), names)
    assert names["trainer"].history.history["accuracy"][-1] > LEARNED
