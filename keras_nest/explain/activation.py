"""Class activation maps of all image models."""

from typing import Any

import keras
import tensorflow as tf

from keras_nest.explain.evidence import check_linear_head, evidence, prepare, share
from keras_nest.explain.pullback import pull_back


def class_activation_map(model: keras.Model, images: Any, class_index: Any = None) -> tf.Tensor:
    """What each place of the last map adds to a class's logit, to first order.

    The last map is multiplied by the gradient of the logit with respect to it and summed over the channels; negative
    values speak against the class. The map is what the head pools: there the values are exact, and with the bias of a
    linear head they add up to the logit. A ViT with a class token does not pool its map; there it is the normalized
    input of the last encoder layer, through which the class token sees the patches. Works under `tf.function`.

    Sources: Zhou et al., "Learning Deep Features for Discriminative Localization", CVPR 2016 (where the head pools the
    map); Draelos, Carin, "Use HiResCAM instead of Grad-CAM", 2020 (the product without averaging the gradient).

    Args:
        model: of any architecture, with a head; or a user's model around one, whose head is linear.
        images: normalized floats, (B, H, W, C) or one image (H, W, C).
        class_index: a class, (B,) classes, or None for the predicted ones.

    Returns:
        float32 (B, h, w), or (h, w) of one image.

    Raises:
        ValueError: the model has no head, one for every token, or of a user's one that is not linear, the images do not
            fit it, or there is no such class.
    """
    network, images, single = prepare(model, images)
    check_linear_head(network)
    name = network.evidence_endpoint
    found = _as_map(network, evidence(network, images, class_index, [name]).maps[name])
    return found[0] if single else found


def activation_graph(model: Any, images: tf.Tensor, weights: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """The same without a check of what comes in, for a graph that is written to a file: the logits and the map.

    Args:
        model: one that `class_activation_map` takes.
        images: (B, H, W, C) as the model takes them.
        weights: float32 (B, K), 1 for the class in question and 0 for all others.

    Returns:
        float32 (B, K) and (B, h, w).
    """
    name = model.evidence_endpoint
    logits, values, pull = pull_back(model, images, [name])
    return logits, _as_map(model, share(values[0], pull(weights)[0]))


def _as_map(model: Any, found: tf.Tensor) -> tf.Tensor:
    """(B, h, w) from (B, h, w) or from tokens (B, N), the class token in front."""
    if found.shape.rank == 3:
        return found
    height, width = model.endpoints["features"].shape[1:3]
    return tf.reshape(found[:, -height * width :], (-1, height, width))
