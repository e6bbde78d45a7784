"""Small LiT models with both kinds of text towers, and what they say about images and texts."""

from pathlib import Path

import numpy as np

import keras_nest
from keras_nest.tokenizers import get_tokenizer
from tests import keras_models
from tests.export import toys

_FOLDER = Path(__file__).parents[1] / "golden/vit/tokenizer"
_IMAGE = {"patch_size": 4, "hidden_size": 16, "num_layers": 1, "num_heads": 2, "mlp_dim": 24}
_TEXT = {"num_layers": 1, "num_heads": 2, "mlp_dim": 24, "max_len": 16}
# Published name, fields of the text tower, vocabulary.
KINDS = {
    "bert": ("LiT-B16B_2", {**_TEXT, "hidden_size": 16, "vocab_size": 64, "out_dim": 16}, _FOLDER / "vocab.txt"),
    "text": ("LiT-L16Ti", {**_TEXT, "width": 12, "vocab_size": 199, "out_dim": 16}, _FOLDER / "sp.model"),
}
TEXTS = ["a photo of a cat", "", "NAÏVE café, 你好 — dogs " * 50, "the red house"]


def build(kind="bert", **fields):
    name, text, _ = KINDS[kind]
    small = {"image_size": 16, "image_model": _IMAGE, "text_model": text, **fields}
    model = keras_nest.create_model(name, **small)
    keras_models.randomize(model)
    return model


def vocabulary(kind="bert"):
    return KINDS[kind][2]


def tokens(model, kind="bert", texts=TEXTS):
    return get_tokenizer(vocabulary(kind), model.text_model.input_shape[1])(texts)


def embeddings(model, images, kind="bert", texts=TEXTS):
    """Of images in [0, 1], and of texts."""
    return model.encode_image(toys.normalized(model, images)).numpy(), model.encode_text(
        tokens(model, kind, texts)
    ).numpy()


def logits(model, zimg, ztxt):
    return float(np.exp(model.get_layer("t").t.numpy()[0])) * zimg @ ztxt.T
