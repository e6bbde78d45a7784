"""A classifier as two functions: one that answers, and a short one that explains what the first one saw."""

import dataclasses
from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from keras_nest.explain.activation import activation_graph, class_activation_map
from keras_nest.export.inference import in_float32, inference
from keras_nest.export.module import holder, image_shape, on_unit_images

Outputs = dict[str, tf.Tensor]
IMAGES, CHOSEN, EVIDENCE = "images", "chosen", "evidence"
"""Names of tensors in the files; outputs are called "logits" (or "probabilities"), `EVIDENCE` and "map"."""


@dataclasses.dataclass(frozen=True)
class Networks:
    """What the files of a page compute.

    Attributes:
        module: holds the variables of both.
        answer: `IMAGES`, float32 (1, H, W, C) in [0, 1] -> the scores of the classes, (1, K), and `EVIDENCE`, whatever
            `explain` goes on from, if there is one.
        images: the input of the first.
        explain: `EVIDENCE` and `CHOSEN`, float32 (1, K) with a 1 for the class in question -> "map" (1, h, w): the
            class activation map, as `keras_nest.explain.class_activation_map` has it. None if there is none.
        evidence: the inputs of the second.
        why_not: why there is none, in a sentence; else "".
    """

    module: tf.train.Checkpoint
    answer: Callable[[tf.Tensor], Outputs]
    images: tf.TensorSpec
    explain: Callable[[tf.Tensor, tf.Tensor], Outputs] | None = None
    evidence: tuple[tf.TensorSpec, ...] = ()
    why_not: str = ""


def split(model: keras.Model) -> Networks:
    """Takes a classifier apart where its class activation map begins to differ from class to class.

    The map is a gradient, of the last layers alone. So it costs a small part of an answer, and a page can show that of
    any class without another pass through the model.

    Args:
        model: with one image input and scores of classes; one of mixed precision is computed in float32.

    Raises:
        ValueError: it computes in another precision, and cannot be made again.
    """
    model, shape = in_float32(model), image_shape(model)
    images = tf.TensorSpec((1, *shape), name=IMAGES)
    try:
        class_activation_map(model, tf.zeros((1, *shape)), 0)
    except ValueError as error:
        module, call = inference(model, "none" if "logits" in getattr(model, "endpoints", {}) else None)
        return Networks(module, call, images, why_not=str(error))
    chosen = tf.TensorSpec((1, model.num_classes), name=CHOSEN)

    def compute(images: tf.Tensor, chosen: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return on_unit_images(lambda x, training: activation_graph(model, x, chosen), model)(images)

    whole = tf.compat.v1.wrap_function(compute, [images, chosen])
    (given, weights, *_), (logits, heat) = whole.inputs, whole.outputs
    waist = _waist(heat, given, weights)
    answer = whole.prune(given, {"logits": logits, EVIDENCE: waist})
    explain = whole.prune([waist, weights], {"map": heat})
    evidence = tf.TensorSpec(waist.shape, name=EVIDENCE), chosen
    return Networks(holder(model), lambda images: answer(images), images, lambda *x: explain(*x), evidence)


def _waist(output: tf.Tensor, early: tf.Tensor, late: tf.Tensor) -> tf.Tensor:
    """The last tensor through which all goes that comes from `early` to `output`, before `late` comes in."""
    needed, after = _above(output), _below(late)
    between = needed & _below(early)
    found, open_tensors, done = early, [early], set()
    # Operations stand in the order in which they are computed.
    for step in filter(between.__contains__, output.graph.get_operations()):
        done.add(step)
        if step in after:
            break
        open_tensors = [
            tensor
            for tensor in (*open_tensors, *step.outputs)
            if any(reader in needed and reader not in done for reader in tensor.consumers())
        ]
        if len(open_tensors) == 1:
            (found,) = open_tensors
    return found


def _above(tensor: tf.Tensor) -> set[Any]:
    """Operations that a tensor is made by, and its own."""
    found: set[Any] = set()
    waiting = [tensor.op]
    while waiting:
        step = waiting.pop()
        if step not in found:
            found.add(step)
            waiting += [each.op for each in step.inputs]
    return found


def _below(tensor: tf.Tensor) -> set[Any]:
    """Operations that depend on a tensor."""
    found: set[Any] = set()
    waiting = [tensor]
    while waiting:
        for step in set(waiting.pop().consumers()) - found:
            found.add(step)
            waiting += step.outputs
    return found
