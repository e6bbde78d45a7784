"""GradCAT: the way from the whole image down NesT's tree of blocks, to where a class comes from."""

from typing import Any, NamedTuple

import keras
import tensorflow as tf

from keras_nest.explain.evidence import architecture, evidence, prepare
from keras_nest.types import Size

POSITIVE, NEGATIVE = 1.0, -1.0
MARGIN = 0.1
"""The margin that decides a step. Of the steps of `benchmarks/gradcat.py` 95 % are right from it on, and 65 % below it,
where chance gives 25 %."""


class Node(NamedTuple):
    """A node of the path: one block of one level. A single image has no axis B.

    Attributes:
        block: int32 (B, 2), row and column in the level's grid of blocks.
        box: int32 (B, 4), the pixels of the input that the block covers: y0, x0, y1, x1, the ends excluded.
        map: float32 (B, h, w), what each token of the block adds to the logit.
        scores: float32 (B, 2, 2), means of the map's quadrants. The largest is the next node; in the last level there
            is none.
        margin: float32 (B,) in [0, 1], how clearly the scores name one quadrant: see `compute_margin`.
    """

    block: tf.Tensor
    box: tf.Tensor
    map: tf.Tensor
    scores: tf.Tensor
    margin: tf.Tensor


class GradCAT(NamedTuple):
    """A path for each image. A single image has no axis B.

    Attributes:
        class_index: int32 (B,), the classes in question.
        logits: float32 (B, K).
        levels: nodes from the top level, the whole image, to a leaf, a block of the first level.
        depth: int32 (B,), how many of the levels are found, from the top: to the first whose margin is below `MARGIN`,
            or to the leaf. What comes after is a guess among equals.
    """

    class_index: tf.Tensor
    logits: tf.Tensor
    levels: tuple[Node, ...]
    depth: tf.Tensor


def gradcat(model: keras.Model, images: Any, class_index: Any = None, sign: float = POSITIVE) -> GradCAT:
    """Gradient-based class-aware tree-traversal.

    At each level the map of the current block is multiplied by the gradient of the class's logit with respect to it
    and summed over the channels; the quadrant with the largest mean is descended into. The map of a level is what its
    encoder layers take in, aggregated from the level below: further on, attention has moved what is found in one
    quadrant to all of them. Works under `tf.function`.

    Where no quadrant stands out, the largest mean says nothing; each step therefore has a margin, and `depth` tells
    where the path ceases to be a finding. With a head of zeros, for example, that is at once.

    Source: NesT paper, GradCAT. It writes the product with a minus sign; asked for a digit among
    others, the plus sign finds its block and the minus sign avoids it, see `benchmarks/gradcat.py`.

    Args:
        model: with a hierarchy of blocks and a head, a NesT of either kind.
        images: normalized floats, (B, H, W, C) or one image (H, W, C).
        class_index: a class, (B,) classes, or None for the predicted ones.
        sign: 1 descends to what speaks for the class, -1 to what speaks against it.

    Raises:
        ValueError: the model has no such hierarchy or no head, the images do not fit it, there is no such class, or its
            blocks have no quadrants.
    """
    network, images, single = prepare(model, images)
    names = _inputs(network)
    found = evidence(network, images, class_index, names)
    node = tf.zeros((tf.shape(images)[0], 2), tf.int32)
    path: list[Node] = []
    for depth, name in enumerate(names):
        path.append(_visit(network, sign * found.maps[name], node, 2**depth))
        best = tf.argmax(tf.reshape(path[-1].scores, (-1, 4)), axis=-1, output_type=tf.int32)
        node = 2 * node + tf.stack([best // 2, best % 2], axis=-1)
    # Of the leaf nothing is decided any more.
    decided = tf.stack([*(node.margin >= MARGIN for node in path[:-1]), tf.zeros_like(path[-1].margin, tf.bool)])
    depth = 1 + tf.reduce_sum(tf.math.cumprod(tf.cast(decided, tf.int32)), axis=0)
    result = GradCAT(found.class_index, found.logits, tuple(path), depth)
    return tf.nest.map_structure(lambda x: x[0], result) if single else result


def _inputs(model: Any) -> list[str]:
    """The endpoints that enter the levels, from the top down."""
    if not model.block_inputs:
        raise ValueError(
            f"GradCAT descends NesT's tree of blocks, which a {architecture(model)} does not have; "
            "class_activation_map (--method cam) explains every model."
        )
    height, width = _block_size(model)
    if len(model.block_inputs) > 1 and min(height, width) < 2:
        raise ValueError(f"Blocks of {height} x {width} tokens have no quadrants; GradCAT needs 2 x 2 or more.")
    return list(model.block_inputs[::-1])


def _block_size(model: Any) -> Size:
    """Height and width of a block in tokens, the same in every level; the last one is one block."""
    *_, last = (name for name in model.endpoints if name.startswith("level_"))
    return model.endpoints[last].shape[1:3]


def _visit(model: Any, level_map: tf.Tensor, node: tf.Tensor, side: int) -> Node:
    """What is known about one block, node (B, 2), of a level map (B, T, N) with T = side x side blocks."""
    block = tf.gather(level_map, node[:, 0] * side + node[:, 1], batch_dims=1)
    block = tf.reshape(block, (-1, *_block_size(model)))
    pixels = tf.constant([length // side for length in model.image_size])
    scores = quadrant_means(block)
    return Node(node, tf.concat([node * pixels, (node + 1) * pixels], axis=-1), block, scores, compute_margin(scores))


def quadrant_means(maps: tf.Tensor) -> tf.Tensor:
    """(B, h, w) -> (B, 2, 2); the middle row or column of an odd side counts half for either."""
    _, height, width = maps.shape
    doubled = tf.repeat(tf.repeat(maps, 2, axis=1), 2, axis=2)
    return tf.reduce_mean(tf.reshape(doubled, (-1, 2, height, 2, width)), axis=(2, 4))


def compute_margin(scores: tf.Tensor) -> tf.Tensor:
    """How clearly scores name one quadrant: the best one's lead over the second, as a share of them all.

    That is (max(best, 0) - max(second, 0)) / sum(|scores|). It is 1 where one quadrant alone says something, and 0 in a
    tie, where none speaks for the class, and where all scores are 0. It has no unit: twice the scores have the same
    margin.

    Args:
        scores: float32 (B, 2, 2).

    Returns:
        float32 (B,); NaN where a score is.
    """
    flat = tf.reshape(scores, (-1, 4))
    best, second = tf.unstack(tf.math.top_k(tf.nn.relu(flat), 2).values, axis=-1)
    return tf.math.divide_no_nan(best - second, tf.reduce_sum(tf.abs(flat), axis=-1))
