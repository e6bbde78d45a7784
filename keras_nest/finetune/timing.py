"""How long fine-tuning takes on this machine, measured on its first images."""

import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from keras_nest import data
from keras_nest.files import atomic_output
from keras_nest.finetune.decisions import Times
from keras_nest.finetune.probe import features_of
from keras_nest.keras_private import save_weights
from keras_nest.models.base import ImageModel
from keras_nest.models.losses import LOSSES, LOSSES_OF_TASK
from keras_nest.types import Size

_REPEATS = 3
# Of the size of the weights: a checkpoint has them and what the optimizer remembers, and there are the best ones.
_FILES_AN_EPOCH = 3


def measure(
    model: ImageModel, source: data.Source, recipe: data.Recipe, size: Size, batch: int, trains: bool = True
) -> Times:
    """Seconds that things take, images read and augmented as in training; no weight is changed.

    Args:
        model: with the layers frozen that will be.
        source: the data set.
        recipe: what happens to its images.
        size: of the images.
        batch: images a step.
        trains: whether there will be steps; if not, these take no time.
    """
    network = tf.function(features_of(model))
    images = (images for images, _, _ in data.eval_batches(source, recipe, size, batch).repeat())
    graph, features = _seconds(network, ((each,) for each in images))
    writing = _FILES_AN_EPOCH * _writing(model)
    if not trains:
        return Times(features / batch, 0.0, files=writing, graph=graph)
    first, step = _seconds(
        _gradient(model, source.info.target.task), iter(data.train_batches(source, recipe, size, batch, seed=0))
    )
    return Times(features / batch, step, first, writing, graph)


def _writing(model: ImageModel) -> float:
    """Seconds that a file with the weights takes until it is on the disk."""
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder, atomic_output(f"{folder}/model.weights.h5") as partial:
        save_weights(model, partial)
    return time.perf_counter() - start


def _gradient(model: ImageModel, task: str) -> Callable[[tf.Tensor, tf.Tensor], Any]:
    """What takes the most of the time of a step."""
    loss_of = LOSSES[LOSSES_OF_TASK[task][0]]

    @tf.function
    def gradient(images: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
        variables = [variable.value for variable in model.trainable_variables]
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(loss_of(labels, model(images, training=True)))
        # One number, for which all of them are computed, and which is quickly fetched.
        return tf.linalg.global_norm(tape.gradient(loss, variables, unconnected_gradients="zero"))

    return gradient


def _seconds(function: Callable[..., Any], arguments: Iterator[tuple[Any, ...]]) -> tuple[float, float]:
    """Seconds of the first call, in which graphs are made, and of every other, its arguments made meanwhile."""
    begun = time.perf_counter()
    np.asarray(function(*next(arguments)))
    start = time.perf_counter()
    for _ in range(_REPEATS):
        np.asarray(function(*next(arguments)))
    return start - begun, (time.perf_counter() - start) / _REPEATS
