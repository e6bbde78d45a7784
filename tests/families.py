"""A toy of every kind of model that is saved as its arguments, with inputs."""

import functools
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

import keras_nest
from keras_nest.generative.discriminator import Discriminator
from keras_nest.models.base import ConfiguredModel

_VIT = {"image_size": 16, "patch_size": 8, "hidden_size": 8, "num_layers": 2, "num_heads": 2, "mlp_dim": 8}
_TEXT = {"out_dim": 8, "vocab_size": 20, "num_layers": 1, "num_heads": 2, "mlp_dim": 8, "max_len": 4}
_NEST = {"image_size": 8, "init_patch_embed_size": 1, "embedding_dim": 8, "num_heads": 2}


def vit(name: str = "ViT-Ti_16", **fields: Any) -> keras_nest.VisionTransformer:
    """A small ViT with random weights."""
    return randomized(keras_nest.create_model(name, **{"num_classes": 3, **_VIT, **fields}))


def nest(name: str = "nest_tiny", **fields: Any) -> keras_nest.NesT:
    """A small NesT with random weights."""
    depths = {"num_layers_per_block": (1, 1), "num_classes": 3}
    return randomized(keras_nest.create_model(name, **{**_NEST, **depths, **fields}))


def lit() -> keras_nest.LiT:
    """A small LiT with random weights."""
    image = {"class_name": "VisionTransformer", "num_classes": 8, **_VIT}
    text = {"class_name": "TextTransformer", "width": 8, **_TEXT}
    return randomized(keras_nest.LiT(image, text))


def randomized(model: keras.Model, seed: int = 0) -> Any:
    """The model with some noise on its weights: heads of zeros hide everything."""
    rng = np.random.default_rng(seed)
    for variable in model.weights:
        if "float" in variable.dtype:
            variable.assign(variable + 0.1 * rng.standard_normal(variable.shape))
    return model


_HYBRID = {**_VIT, "image_size": 32, "patch_size": 1, "num_layers": 1}
_MIXER = {"image_size": 16, "patch_size": 8, "hidden_dim": 8, "num_blocks": 1, "tokens_mlp_dim": 4}
_BLOCKS = {"image_size": 8, "patch_size": 2, "dim": 4, "heads": 1, "num_hierarchies": 2, "block_repeats": (1, 1)}

# Makes one, by name.
FAMILIES: dict[str, Callable[[], ConfiguredModel]] = {
    "NesT": nest,
    "NesT, multi-query, BatchNorm": lambda: nest(attn_type="local_multi_query", norm_type="BN"),
    "ViT": vit,
    "ViT, gap": lambda: vit(classifier="gap", representation_size=4, num_layers=1),
    "ViT, unpooled": lambda: vit(classifier="unpooled", num_layers=1),
    "ViT, token_unpooled": lambda: vit(classifier="token_unpooled", num_layers=1),
    "ViT, features": lambda: vit(features_only=True, feature_blocks=(1, 2)),
    "hybrid": lambda: vit("R26+ViT-S_32", **{**_HYBRID, "resnet_num_layers": (1, 1)}),
    "hybrid of timm, exact GELU": lambda: vit(
        "R26+ViT-S_32", **_HYBRID, resnet_num_layers=(1,), resnet_variant="timm", activation="gelu"
    ),
    "Mixer": lambda: randomized(keras_nest.create_model("Mixer-B_16", num_classes=3, channels_mlp_dim=8, **_MIXER)),
    "ResNet": lambda: randomized(keras_nest.create_model("resnet18_cifar", num_classes=3, stage_sizes=(1, 1))),
    "ViTFlaxNesT": lambda: randomized(keras_nest.ViTFlaxNesT(num_classes=3, **_BLOCKS)),
    "Bert": lambda: randomized(keras_nest.Bert(**_TEXT, hidden_size=8, max_length=4)),
    "TextTransformer": lambda: randomized(keras_nest.TextTransformer(**_TEXT, width=8)),
    "LiT": lit,
    "generator": lambda: randomized(
        keras_nest.NesTGenerator(
            latent_dim=4,
            image_size=8,
            num_classes=2,
            embedding_dims=(8, 8),
            num_heads=(2, 2),
            num_layers_per_block=(1, 1),
            patch_size=2,
        )
    ),
    "discriminator": lambda: randomized(Discriminator(8, 2, widths=(4, 4))),
}


@functools.cache
def made(family: str) -> ConfiguredModel:
    """One of a family, always the same, which no test may change."""
    keras.utils.set_random_seed(0)
    return FAMILIES[family]()


def inputs_of(model: keras.Model, batch: int = 2) -> Any:
    """Random inputs of a model."""
    rng = np.random.default_rng(0)

    def random(x: keras.KerasTensor) -> np.ndarray:
        shape = (batch, *x.shape[1:])
        return rng.integers(0, 2, shape).astype(x.dtype) if "int" in x.dtype else rng.standard_normal(shape, np.float32)

    return keras.tree.map_structure(random, model.input)


def outputs_of(model: keras.Model, inputs: Any) -> list[np.ndarray]:
    """Outputs of a model, one after the other."""
    return [np.asarray(x) for x in keras.tree.flatten(model(inputs, training=False))]
