"""Tiny models of every family, built through the public names alone: what the recorded .keras files hold."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np

import keras_nest

_IMAGE = {"image_size": 16, "num_classes": 3}
_VIT = {**_IMAGE, "patch_size": 8, "hidden_size": 8, "num_layers": 2, "num_heads": 2, "mlp_dim": 8}
_TEXT = {"out_dim": 8, "vocab_size": 20, "num_layers": 1, "num_heads": 2, "mlp_dim": 8, "max_len": 4}
_NEST = {"init_patch_embed_size": 2, "embedding_dim": 8, "num_heads": 2, "num_layers_per_block": (1, 1)}
_MIXER = {"patch_size": 8, "hidden_dim": 8, "num_blocks": 1, "tokens_mlp_dim": 4, "channels_mlp_dim": 8}
_BLOCKS = {"image_size": 8, "patch_size": 2, "dim": 4, "heads": 1, "num_hierarchies": 2, "block_repeats": (1, 1)}
_LEVELS = {"embedding_dims": (8, 8), "num_heads": (2, 2), "num_layers_per_block": (1, 1)}
_TOWER = {"class_name": "VisionTransformer", **_VIT, "num_classes": 8}


def nest(**fields: Any) -> keras.Model:
    """A NesT of two levels."""
    return keras_nest.create_model("nest_tiny", **{**_IMAGE, **_NEST, **fields})


def vit(**fields: Any) -> keras.Model:
    """A ViT of two blocks."""
    return keras_nest.create_model("ViT-Ti_16", **{**_VIT, **fields})


def hybrid() -> keras.Model:
    """A ViT on a ResNet of two stages."""
    fields = {"image_size": 32, "patch_size": 2, "num_layers": 1, "resnet_num_layers": (1,)}
    fields |= {"resnet_width_factor": 0.5}
    return keras_nest.create_model("R26+ViT-S_32", **{**_VIT, **fields})


def generator() -> keras.Model:
    """A generator of two levels and two classes."""
    return keras_nest.NesTGenerator(latent_dim=4, image_size=8, num_classes=2, patch_size=2, **_LEVELS)


def _partly_frozen() -> keras.Model:
    model = nest()
    model.get_layer("EncoderNDBlock_0").trainable = False
    return model


def _frozen_inside() -> keras.Model:
    model = vit()
    model.get_layer("Transformer").blocks[0].trainable = False
    return model


def _frozen_but_for_one() -> keras.Model:
    model = vit()
    model.trainable = False
    model.get_layer("Transformer").blocks[1].mlp.trainable = True
    return model


def _locked_lit() -> keras.Model:
    model = keras_nest.LiT(_TOWER, {"class_name": "TextTransformer", "width": 8, **_TEXT})
    model.image_model.trainable = False
    return model


def _with_lora() -> keras.Model:
    model = vit()
    for block in model.get_layer("Transformer").blocks:
        block.mlp.dense[0].enable_lora(2, lora_alpha=3)
    return model


def _with_changed_layers() -> keras.Model:
    model = vit()
    block = model.get_layer("Transformer").blocks[0]
    block.mlp.dense[0].activation = keras.activations.silu
    block.mlp.dense[1].kernel_regularizer = block.mlp.dense[1].kernel.regularizer = keras.regularizers.L2(0.1)
    return model


def _quantized() -> keras.Model:
    model = randomized(vit())
    for block in model.get_layer("Transformer").blocks:
        block.mlp.dense[0].quantize("int8")
    return model


def _head_of_ones_own() -> keras.Model:
    """A user's model that goes on from the layers of ours."""
    model = vit(num_classes=0)
    return keras.Model(model.input, keras.layers.Dense(2, name="mine")(model.output))


def _inside_ones_own() -> keras.Model:
    """A user's model with preprocessing and ours as layers, ours frozen."""
    model = nest(num_classes=0)
    model.trainable = False
    layers = [keras_nest.preprocessor(model), model, keras.layers.Dense(2, name="mine")]
    return keras.Sequential([keras.Input((16, 16, 3)), *layers])


MODELS: dict[str, Callable[[], keras.Model]] = {
    "nest": nest,
    "nest_multi_query_batch_norm": lambda: nest(attn_type="local_multi_query", norm_type="BN"),
    "nest_bfloat16": lambda: nest(dtype="mixed_bfloat16"),
    "nest_softmax": lambda: nest(classifier_activation="softmax"),
    "nest_partly_frozen": _partly_frozen,
    "vit": vit,
    "vit_gap": lambda: vit(classifier="gap", representation_size=4),
    "vit_unpooled": lambda: vit(classifier="unpooled"),
    "vit_features": lambda: vit(features_only=True, feature_blocks=(1, 2)),
    "vit_frozen_inside": _frozen_inside,
    "vit_frozen_but_for_one": _frozen_but_for_one,
    "vit_lora": _with_lora,
    "vit_changed_layers": _with_changed_layers,
    "vit_int8": _quantized,
    "hybrid": hybrid,
    "mixer": lambda: keras_nest.create_model("Mixer-B_16", **_IMAGE, **_MIXER),
    "resnet": lambda: keras_nest.create_model("resnet18_cifar", width_factor=0.25, stage_sizes=(1, 1), **_IMAGE),
    "vit_flax_nest": lambda: keras_nest.ViTFlaxNesT(num_classes=3, **_BLOCKS),
    "bert": lambda: keras_nest.Bert(**_TEXT, hidden_size=8, max_length=4),
    "text_transformer": lambda: keras_nest.TextTransformer(**_TEXT, width=8),
    "lit_bert": lambda: keras_nest.LiT(_TOWER, {"class_name": "Bert", "hidden_size": 8, "max_length": 4, **_TEXT}),
    "lit_text_transformer": _locked_lit,
    "generator": generator,
    "head_of_ones_own": _head_of_ones_own,
    "inside_ones_own": _inside_ones_own,
}
"""Builds the model of each .keras file, by the file's name."""


def randomized(model: keras.Model, seed: int = 0) -> keras.Model:
    """The model with noise on its weights, as heads of zeros hide everything; rounded, for small archives."""
    rng = np.random.default_rng(seed)
    for variable in model.weights:
        if "float" in variable.dtype and "moving" not in variable.name:
            value = np.asarray(variable, np.float32) + 0.1 * rng.standard_normal(variable.shape)
            variable.assign(np.round(value * 256) / 256)
    return model


def random_inputs(model: keras.Model, batch: int = 2) -> Any:
    """Random inputs in the structure that the model takes: pixels in [0, 1], token ids or classes."""
    rng = np.random.default_rng(0)

    def random(x: keras.KerasTensor) -> np.ndarray:
        shape = (batch, *x.shape[1:])
        return rng.integers(0, 2, shape).astype(x.dtype) if "int" in x.dtype else rng.random(shape, np.float32)

    return keras.tree.map_structure(random, model.inputs[0] if isinstance(model, keras.Sequential) else model.input)
