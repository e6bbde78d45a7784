"""What attends to what: attention probabilities of NesT's blocks and of ViT's tokens."""

import functools
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from keras_nest.explain.evidence import architecture, endpoints, prepare
from keras_nest.layers.image_blocks import unblock_images


class LevelAttention(NamedTuple):
    """Attention of the n encoder layers of one level. A single image has no axis B.

    Attributes:
        probabilities: (B, n, T, h, N, N): of layer, block and head, how much each query (last axis but one) attends to
            each key of its block.
        maps: (B, n, h, H, W): how much a token is attended to by its block, on average over the queries, stitched
            together; 1 is as much as if all were attended to alike.
    """

    probabilities: tf.Tensor
    maps: tf.Tensor


def attention_maps(model: keras.Model, images: Any) -> tuple[LevelAttention, ...]:
    """Attention probabilities of every level, finest first, as the model computes them. Works under `tf.function`.

    Args:
        model: with attention inside the blocks of a hierarchy, a NesT of either kind; a head is not needed.
        images: normalized floats, (B, H, W, C) or one image (H, W, C).

    Raises:
        ValueError: the model has no such attention, or the images do not fit it.
    """
    network, images, single = prepare(model, images)
    levels = _local_attention(network)
    inputs = endpoints(network, images, {level: list(layers) for level, layers in levels.items()})
    result = []
    for level, layers in levels.items():
        probabilities = [_probabilities(layer, x) for layer, x in zip(layers.values(), inputs[level], strict=True)]
        _, height, width, _ = network.endpoints[level].shape
        result.append(_stitch(tf.stack(probabilities, axis=1), (height, width)))
    return tf.nest.map_structure(lambda x: x[0], tuple(result)) if single else tuple(result)


def attention_rollout(model: keras.Model, images: Any) -> tf.Tensor:
    """How much of each patch reaches the head of a ViT, if attention alone moves it. Works under `tf.function`.

    In every encoder layer the probabilities, averaged over the heads, count half and the residual connection half; the
    layers are multiplied. Of the product the class token's row is taken, and without one the mean of all rows.

    Source: Abnar, Zuidema, "Quantifying Attention Flow in Transformers", ACL 2020, section 3.

    Args:
        model: with attention between all tokens, a ViT or a hybrid; a head is not needed.
        images: normalized floats, (B, H, W, C) or one image (H, W, C).

    Returns:
        (B, h, w) over the patches, or (h, w) of one image; with the share of a class token they add up to 1.

    Raises:
        ValueError: the model has no such attention, or the images do not fit it.
    """
    network, images, single = prepare(model, images)
    layers = _global_attention(network)
    inputs = endpoints(network, images, {"tokens": list(layers)})["tokens"]
    steps = [_with_residual(_probabilities(layer, x)) for layer, x in zip(layers.values(), inputs, strict=True)]
    rolled = functools.reduce(lambda below, step: tf.matmul(step, below), steps)
    shares = rolled[:, 0] if network.pools_class_token else tf.reduce_mean(rolled, axis=1)
    height, width = network.endpoints["stem"].shape[1:3]
    maps = tf.reshape(shares[:, -height * width :], (-1, height, width))  # without a class token, which is in front
    return maps[0] if single else maps


def _local_attention(model: Any) -> dict[str, dict[str, keras.layers.Layer]]:
    """Of each level of a hierarchy of blocks, the attention layers by the endpoints that are their inputs."""
    layers = model.attention_layers()
    if not (layers and model.block_inputs):
        hint = "attention_rollout is for it" if layers else "class_activation_map is for it"
        raise ValueError(
            f"attention_maps is for attention inside blocks, as in NesT, which a {architecture(model)} does not have; "
            f"{hint}."
        )
    return layers


def _global_attention(model: Any) -> dict[str, keras.layers.Layer]:
    """The attention layers that see all tokens, by the endpoints that are their inputs."""
    layers = model.attention_layers()
    if layers and model.block_inputs:
        raise ValueError(
            f"attention_rollout is for attention between all tokens, as in ViT, which a {architecture(model)} does "
            "not have; attention_maps is for it."
        )
    if not layers:
        raise ValueError(
            f"The model {model.name!r}, a {architecture(model)}, has no encoder in which tokens attend to each other; "
            "class_activation_map is for it."
        )
    (only,) = layers.values()
    return only


def _probabilities(layer: keras.layers.Layer, x: tf.Tensor) -> tf.Tensor:
    """float32 probabilities of an attention layer, from its input."""
    return tf.cast(layer(x, training=False, return_attention_scores=True)[1], tf.float32)


def _with_residual(probabilities: tf.Tensor) -> tf.Tensor:
    """(B, h, N, N) -> (B, N, N), rows that add up to 1."""
    return (tf.reduce_mean(probabilities, axis=1) + tf.eye(probabilities.shape[-1])) / 2


def _stitch(probabilities: tf.Tensor, size: tuple[int, int]) -> LevelAttention:
    """Maps (B, n, h, H, W) of probabilities (B, n, T, h, N, N), for a level map of that size."""
    _, layers, blocks, heads, tokens, _ = probabilities.shape
    side = int(blocks**0.5)
    received = tf.reduce_mean(probabilities, axis=-2) * tokens  # (B, n, T, h, N)
    received = tf.reshape(tf.transpose(received, (0, 1, 3, 2, 4)), (-1, blocks, tokens, 1))
    stitched = unblock_images(received, (side, side), (size[0] // side, size[1] // side))
    return LevelAttention(probabilities, tf.reshape(stitched, (-1, layers, heads, *size)))
