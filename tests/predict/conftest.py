"""One small classifier in every kind of file, and images to ask about."""

import numpy as np
import pytest

import keras_nest
from keras_nest import export
from keras_nest.export.tflite import to_tflite
from keras_nest.predict import read_image
from tests import keras_models
from tests.data import photographs

SMALL = {
    "num_classes": 3,
    "image_size": 16,
    "embedding_dim": 8,
    "num_heads": 2,
    "num_layers_per_block": (1,),
    "init_patch_embed_size": 4,
}
NAMES = ("owl", "cat, tabby", "猫")


@pytest.fixture(scope="session")
def model():
    """Its preprocessing crops, so that it matters."""
    model = keras_nest.create_model("nest_tiny", **SMALL)
    keras_models.randomize(model)
    return model


@pytest.fixture(scope="session")
def files(model, tmp_path_factory):
    """Kind of file -> what `--model` names."""
    root = tmp_path_factory.mktemp("models")
    (root / "run").mkdir()
    model.save(root / "run" / "model.keras")
    model.save(root / "bare.keras")
    (root / "run" / "classes.txt").write_text("".join(f"{name}\n" for name in NAMES), "utf-8")
    to_tflite(model, root / "tflite", ["float32"], class_names=NAMES)
    export.publish(model, root / "saved_model", class_names=NAMES)
    return {
        "run": root / "run",
        "keras": root / "run" / "model.keras",
        "bare": root / "bare.keras",
        "saved_model": root / "saved_model" / "1",
        "versions": root / "saved_model",
        "tflite": root / "tflite" / "float32.tflite",
    }


@pytest.fixture(scope="session")
def photos(tmp_path_factory):
    """A folder of photographs of several sizes."""
    root = tmp_path_factory.mktemp("photos")
    for name, size in (("chelsea", (48, 36)), ("astronaut", (20, 50)), ("rocket", (16, 16))):
        photographs.small(name, size).save(root / f"{name}.png")
    return root


@pytest.fixture(scope="session")
def expected(model, photos):
    """Probabilities (3, 3) of the photographs in the order of their names."""
    images = [read_image(path) for path in sorted(photos.iterdir())]
    logits = np.asarray(model(keras_nest.preprocessor(model)(images)))
    shares = np.exp(logits - logits.max(1, keepdims=True))
    return shares / shares.sum(1, keepdims=True)
