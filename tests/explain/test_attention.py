"""Attention probabilities are those of the model's own computation."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_nest import MlpMixer, NesT, VisionTransformer, ViTFlaxNesT
from keras_nest.explain import attention_maps, attention_rollout
from tests import keras_models

SIZE = 16
NEST = {"num_classes": 3, "image_size": SIZE, "embedding_dim": 8, "num_heads": 2, "init_patch_embed_size": 2}
VIT = {"num_classes": 3, "image_size": (8, 12), "patch_size": 4, "hidden_size": 8, "num_heads": 2, "mlp_dim": 8}


def randomized(model):
    keras_models.randomize(model)
    return model


def images(height=SIZE, width=SIZE):
    return np.random.default_rng(0).standard_normal((2, height, width, 3)).astype(np.float32)


def attended(layer, x, probabilities):
    """The output of an official NesT's attention layer on (B, T, N, C), from given probabilities (B, T, h, N, N)."""
    head, width = layer.head_dim, layer.num_heads * layer.head_dim
    projected = layer.key_value(tf.reshape(x, (-1, *x.shape[2:]))).numpy().reshape(*x.shape[:3], -1)
    if projected.shape[-1] == 2 * head:  # one key and value for all heads
        values = np.repeat(projected[..., None, head:], layer.num_heads, axis=-2)
    else:
        values = projected.reshape(*x.shape[:3], layer.num_heads, 2 * head)[..., head:]
    mixed = np.einsum("bthqk,btkhd->btqhd", probabilities, values)
    kernel = layer.proj_kernel.numpy().reshape(width, -1)
    return mixed.reshape(*x.shape[:3], width) @ kernel + layer.bias.numpy()


@pytest.mark.parametrize("attention", ["local_multi_head", "local_multi_query"])
def test_values_weighted_by_the_probabilities_are_the_layer_output(attention):
    model = randomized(NesT(**NEST, num_layers_per_block=(1, 2), attn_type=attention))
    levels = attention_maps(model, images())
    values = keras_models.endpoints(model, images())
    places = [(0, 0), (1, 0), (1, 1)]  # level, layer in it
    for number, (level, layer) in enumerate(places):
        encoder = model.get_layer(f"EncoderNDBlock_{number}")
        x = values[f"{encoder.name}/LayerNorm_0"]
        probabilities = levels[level].probabilities[:, layer].numpy()
        np.testing.assert_allclose(probabilities.sum(-1), 1, atol=1e-5)
        expected = values[f"{encoder.name}/{encoder.attention.name}"]
        np.testing.assert_allclose(attended(encoder.attention, x, probabilities), expected, rtol=1e-4, atol=1e-5)


def test_probabilities_of_the_other_nest():
    model = randomized(ViTFlaxNesT(SIZE, 2, 8, 2, 2, (1, 2), num_classes=3))
    first, second = attention_maps(model, images())
    assert first.probabilities.shape == (2, 1, 4, 2, 16, 16)
    assert second.probabilities.shape == (2, 2, 1, 4, 16, 16)
    layer = model.get_layer("Transformer_1").branches[2]
    name = "Transformer_1/PreNorm_2/LayerNorm_0"
    values = keras_models.endpoints(model, images(), [name, "Transformer_1/Attention_1"])
    *_, value = np.split(layer.to_qkv(values[name]).numpy(), 3, axis=-1)
    mixed = np.einsum("bthqk,btkhd->btqhd", second.probabilities[:, 1], value.reshape(*value.shape[:3], 4, -1))
    expected = values["Transformer_1/Attention_1"]
    np.testing.assert_allclose(layer.to_out(mixed.reshape(value.shape)), expected, rtol=1e-4, atol=1e-5)


def test_maps_are_stitched():
    model = randomized(NesT(**NEST | {"image_size": (16, 24)}, num_layers_per_block=(1, 1)))
    level, _ = attention_maps(model, images(16, 24))
    assert level.maps.shape == (2, 1, 2, 8, 12)
    # Token (1, 2) of block (1, 0), which has 4 x 6 tokens: row 5, column 2 of the map.
    received = level.probabilities[0, 0, 2, 1, :, 1 * 6 + 2].numpy().mean() * 24
    np.testing.assert_allclose(level.maps[0, 0, 1, 4 + 1, 2], received, rtol=1e-5)
    np.testing.assert_allclose(level.maps.numpy().mean((-2, -1)), 1, rtol=1e-5)


def rollout_by_hand(model, batch):
    """(B, N, N), from the layers' own scores."""
    encoder, rolled = model.get_layer("Transformer"), 1
    for i, block in enumerate(encoder.blocks):
        x = keras.Model(model.input, model.endpoints[f"Transformer/encoderblock_{i}/LayerNorm_0"])(batch)
        query, key = (
            getattr(block.attention, name)(x).numpy().reshape(*x.shape[:2], 2, 4) for name in ("query", "key")
        )
        scores = np.exp(np.einsum("bqhd,bkhd->bhqk", query, key) / 2)
        scores = (scores / scores.sum(-1, keepdims=True)).mean(1)
        step = 0.5 * scores + 0.5 * np.eye(scores.shape[-1])
        rolled = step if i == 0 else step @ rolled
    return rolled


@pytest.mark.parametrize("classifier", ["token", "gap", "token_unpooled"])
def test_rollout(classifier):
    model = randomized(VisionTransformer(**VIT, num_layers=2, classifier=classifier))
    batch = images(8, 12)
    rolled = rollout_by_hand(model, batch)
    expected = rolled[:, 0, 1:] if classifier == "token" else rolled.mean(1)[:, int(classifier != "gap") :]
    maps = attention_rollout(model, batch)
    np.testing.assert_allclose(maps, expected.reshape(2, 2, 3), rtol=1e-4)
    np.testing.assert_allclose(attention_rollout(model, batch[1]), maps[1], rtol=1e-4)
    if classifier == "token":
        in_graph = tf.function(lambda x: attention_rollout(model, x))(batch)
        np.testing.assert_allclose(in_graph, maps, rtol=1e-4)


@pytest.mark.slow
def test_without_a_head_one_image_in_a_graph():
    model = randomized(NesT(**NEST | {"num_classes": 0}, num_layers_per_block=(1, 1)))
    together = attention_maps(model, images())
    alone = tf.function(lambda x: attention_maps(model, x))(images()[1])
    for ours, theirs in zip(tf.nest.flatten(together), tf.nest.flatten(alone), strict=True):
        np.testing.assert_allclose(ours[1], theirs, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(
    ("method", "make", "message"),
    [
        (attention_maps, lambda: VisionTransformer(**VIT, num_layers=1), "attention_rollout is for it"),
        (
            attention_maps,
            lambda: MlpMixer(3, (8, 12), patch_size=4, hidden_dim=8, num_blocks=1),
            "class_activation_map",
        ),
        (
            attention_rollout,
            lambda: NesT(**NEST | {"image_size": (8, 12)}, num_layers_per_block=(1, 1)),
            "attention_maps",
        ),
        (attention_rollout, lambda: VisionTransformer(**VIT, num_layers=None, classifier="gap"), "has no encoder"),
        (
            attention_rollout,
            lambda: keras.Sequential([keras.Input((8, 12, 3)), keras.layers.Flatten()]),
            "no image model",
        ),
    ],
)
def test_models_that_they_are_not_for(method, make, message):
    with pytest.raises(ValueError, match=message):
        method(make(), images(8, 12))
