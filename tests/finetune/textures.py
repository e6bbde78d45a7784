"""A small model whose weights come from real training, on photographs that no folder of these tests has."""

import functools

import keras
import numpy as np
import skimage.data
from PIL import Image

import keras_nest

NAMES = ("brick", "grass", "gravel", "coins", "page", "moon")
SMALL = {"image_size": 32, "init_patch_embed_size": 4, "embedding_dim": 24, "num_heads": 2, "scale_hidden_dims": 2}
SMALL |= {"num_layers_per_block": (1, 1), "stochastic_depth_drop": 0.0}


def crops(count):
    """Float images (N, 32, 32, 3) in [0, 1], and which photograph each is a part of."""
    generator, images = np.random.default_rng(0), []
    for name in NAMES:
        photograph = Image.fromarray(getattr(skimage.data, name)()).convert("RGB")
        for _ in range(count):
            side = int(generator.uniform(0.2, 0.6) * min(photograph.size))
            left, top = (int(generator.integers(length - side + 1)) for length in photograph.size)
            images.append(np.asarray(photograph.resize((32, 32), box=(left, top, left + side, top + side))))
    return np.stack(images) / np.float32(255), np.repeat(np.arange(len(NAMES)), count)


@functools.cache
def train():
    """A small NesT that tells these textures apart; nobody may change it."""
    keras.utils.set_random_seed(0)
    model = keras_nest.create_model("nest_tiny_s16_32", num_classes=len(NAMES), **SMALL)
    images, labels = crops(40)
    model.compile(keras.optimizers.AdamW(3e-3), metrics=["accuracy"], jit_compile=False)
    history = model.fit(keras_nest.preprocessor(model)(images), labels, epochs=8, batch_size=16, verbose=0)
    assert history.history["accuracy"][-1] > 0.6  # of a sixth by chance
    return model
