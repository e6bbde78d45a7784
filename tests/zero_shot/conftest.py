"""A LiT that knows colors, one that knows nothing, and images of one color."""

from pathlib import Path

import keras
import numpy as np
import pytest
from PIL import Image

import keras_nest
from keras_nest.models.base import STRETCHED_PREPROCESSING
from tests import keras_models

# Words of the vocabulary and the color that each means here.
COLORS = {"red": (255, 0, 0), "tree": (0, 255, 0), "house": (0, 0, 255)}
VOCABULARIES = Path(__file__).parents[1] / "golden" / "vit" / "tokenizer"
VOCABULARY = VOCABULARIES / "vocab.txt"
TRUNCATED = {**STRETCHED_PREPROCESSING, "truncate": True}
SIZES = {"num_layers": 1, "num_heads": 2, "mlp_dim": 24}


@pytest.fixture(scope="session")
def tokenizer():
    return keras_nest.get_tokenizer(VOCABULARY, 8)


@pytest.fixture(scope="session")
def colors(tokenizer):
    """An image is its mean color in [-1, 1], a text the sum of the colors in it."""
    image = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.GlobalAveragePooling2D()], name="img")
    words = keras.layers.Embedding(tokenizer.vocab_size, 3, embeddings_initializer="zeros")
    text = keras.Sequential(
        [keras.Input((8,), dtype="int32"), words, keras.layers.GlobalAveragePooling1D()], name="txt"
    )
    table = np.zeros((tokenizer.vocab_size, 3))
    for word, color in COLORS.items():
        table[tokenizer(word)[0, 1]] = np.array(color) / 127.5 - 1
    words.set_weights([table])
    model = keras_nest.LiT(image, text, preprocessing=TRUNCATED)
    model.get_layer("t").t.assign([np.log(10.0)])
    return model


@pytest.fixture(scope="session")
def random_lit(tokenizer):
    """The towers of published models, small, with weights that mean nothing."""
    model = keras_nest.create_model(
        "LiT-B16B_2",
        image_size=16,
        image_model={"patch_size": 4, "hidden_size": 16, **SIZES},
        text_model={"hidden_size": 16, "vocab_size": tokenizer.vocab_size, "max_len": 8, "out_dim": 16, **SIZES},
    )
    keras_models.randomize(model)
    return model


@pytest.fixture(scope="session")
def run(colors, tmp_path_factory):
    """What a training leaves: the model that knows colors, and its vocabulary beside it."""
    root = tmp_path_factory.mktemp("run")
    colors.save(root / "model.keras")
    (root / "vocab.txt").write_bytes(VOCABULARY.read_bytes())
    return root


def paint(path, word, size=(9, 12)):
    """Writes an image of about the color of a word; returns its path."""
    noise = np.random.default_rng(len(path.parts)).integers(-40, 40, (*size, 3))
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.clip(np.array(COLORS[word]) + noise, 0, 255).astype(np.uint8)).save(path)
    return path
