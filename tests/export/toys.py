"""One small model of each family, with weights that matter, and the images that they are asked about."""

import io

import keras
import numpy as np
import tensorflow as tf
from PIL import Image

import keras_nest
from keras_nest.data.decoding import decode_upright
from tests import keras_models

_VIT = {"patch_size": 4, "hidden_size": 16, "num_layers": 1, "num_heads": 2, "mlp_dim": 24, "dropout_rate": 0.3}
FAMILIES = {
    "nest": (
        "nest_tiny",
        {"init_patch_embed_size": 2, "embedding_dim": 12, "num_layers_per_block": (1, 1), "stochastic_depth_drop": 0.5},
    ),
    "vit": ("ViT-S_16", _VIT),
    "hybrid": ("R+ViT-Ti_16", {**_VIT, "patch_size": 2, "resnet_width_factor": 0.5}),
    "mixer": (
        "Mixer-B_16",
        {"patch_size": 4, "hidden_dim": 16, "num_blocks": 1, "tokens_mlp_dim": 6, "channels_mlp_dim": 24},
    ),
}
SIGNATURES = ("embed", "features", "serving_bytes", "serving_bytes_each", "serving_default", "serving_default_each")
CLASS_NAMES = ("owl", "Käuzchen", "cat, tabby", "dog", "fox", "hen", "猫")


def build(family, **fields):
    keras.utils.set_random_seed(0)  # of drop path and dropout, which training draws from
    name, small = FAMILIES[family]
    model = keras_nest.create_model(name, **{"num_classes": len(CLASS_NAMES), "image_size": 16, **small, **fields})
    keras_models.randomize(model)
    return model


def pixels(batch, size=(16, 16), seed=0):
    """Images as the float signatures take them."""
    return np.random.default_rng((batch, seed)).random((batch, *size, 3), np.float32)


def normalized(model, images):
    spec = model.config["preprocessing"]
    return (images - np.float32(spec["mean"])) / np.float32(spec["std"])


def logits(model, images):
    """What the Keras model says about images in [0, 1]."""
    return model(normalized(model, images)).numpy()


def logits_of_files(model, files):
    """What the Keras model says about encoded images, prepared as its evaluation does."""
    decoded = [decode_upright(tf.constant(file), 1) for file in files]
    return model(keras_nest.preprocessor(model)(decoded)).numpy()


def encode(mode, size, suffix, seed=0):
    """A smooth image of a PIL mode; size is (width, height)."""
    random, content = np.random.default_rng(seed), io.BytesIO()
    count = len(Image.new(mode, (1, 1)).getbands())
    bands = [Image.fromarray(random.integers(0, 256, (5, 5), np.uint8)).resize(size) for _ in range(count)]
    Image.merge(mode, bands).save(content, suffix)
    return content.getvalue()


def image_files():
    """Encoded images of several kinds and sizes."""
    return [
        encode("RGB", (40, 31), "JPEG", 1),
        encode("RGB", (16, 16), "PNG", 2),
        encode("L", (20, 50), "JPEG", 3),
        encode("L", (9, 12), "PNG", 4),
        encode("RGBA", (33, 17), "PNG", 5),
        encode("LA", (18, 18), "PNG", 6),
        encode("CMYK", (64, 48), "JPEG", 7),
    ]


def tolerance(expected):
    """The largest difference that a consumer may have from the Keras model."""
    return 1e-5 * max(1.0, float(np.abs(expected).max()))


def assert_close(actual, expected):
    np.testing.assert_allclose(actual, expected, rtol=0, atol=tolerance(expected))
