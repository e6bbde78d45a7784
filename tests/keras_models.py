"""Keras models of the reference cases, and how to compare them."""

import contextlib
from collections.abc import Iterator

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_nest import MlpMixer, NesT, ResNet, VisionTransformer, ViTFlaxNesT, conversion
from keras_nest.models.base import ImageModel
from tests.golden import loading, vit_loading

# Absolute tolerances of full-size models; rounding reaches 2e-6 and 2e-5, an exact GELU is off by 5e-4 and 2e-3.
LOGITS, LEVELS = 3e-5, 2e-4
# Small models are shallower: rounding reaches 2e-6 and 1.5e-5.
SMALL_LOGITS, SMALL_LEVELS = 1e-5, 3e-5

ARCHITECTURES = {
    "NesT": NesT,
    "ViTFlaxNesT": ViTFlaxNesT,
    "VisionTransformer": VisionTransformer,
    "MlpMixer": MlpMixer,
    "ResNet": ResNet,
}
AnyCase = loading.Case | vit_loading.Case


def build(case: AnyCase, **fields) -> ImageModel:
    """The Keras model of a case, without its weights."""
    config = {**case.config, "image_size": case.images.shape[1:3], "in_channels": case.images.shape[3], **fields}
    return ARCHITECTURES[case.architecture](**config)


def tree(case: AnyCase) -> conversion.Tree:
    """The weights of a case as the converter reads them."""
    stats = {f"batch_stats/{path}": value for path, value in getattr(case, "batch_stats", {}).items()}
    return {f"params/{path}": value for path, value in case.params.items()} | stats


@contextlib.contextmanager
def no_initial_values() -> Iterator[None]:
    """New models are of zeros: drawing what is replaced takes a third of the time of a full-size model."""
    initializers = keras.initializers
    with pytest.MonkeyPatch.context() as patch:
        for each in (initializers.TruncatedNormal, initializers.VarianceScaling, initializers.RandomNormal):
            patch.setattr(each, "__call__", lambda self, shape, dtype=None: keras.ops.zeros(shape, dtype))
        yield


def load(case: AnyCase, weights: conversion.Tree | None = None, **fields) -> ImageModel:
    """The Keras model of a case with its weights."""
    with no_initial_values():
        model = build(case, **fields)
    conversion.load_weights(model, tree(case) if weights is None else weights)
    return model


def shapes(model: keras.Model) -> dict[str, tuple[int, ...]]:
    """Shapes of a model's parameters, by plain Flax path."""
    return {path.removeprefix("params/"): value.shape for path, value in conversion.model_tree(model).items()}


def copy_weights(source: keras.Model, target: keras.Model) -> None:
    """Gives a model the values that another one has under the same paths; there must be one for each."""
    values = {variable.path: variable for variable in source.weights}
    for variable in target.weights:
        variable.assign(values[variable.path])


def randomize(model: keras.Model, seed: int = 0) -> None:
    """Random weights everywhere; new heads are zero and would hide everything."""
    rng = np.random.default_rng(seed)
    for variable in model.weights:
        variable.assign(0.3 * rng.standard_normal(variable.shape))


def endpoints(model: ImageModel, images: np.ndarray, names: list[str] | None = None) -> dict[str, np.ndarray]:
    """Values of named intermediates, all by default."""
    wanted = {name: x for name, x in model.endpoints.items() if names is None or name in names}
    return {name: np.asarray(x) for name, x in keras.Model(model.input, wanted)(images).items()}


def differences(model: ImageModel, case: loading.Case) -> dict[str, float]:
    """Largest absolute difference of the logits, the embedding and every level map that the reference stored."""
    names = ["logits", "pre_logits", *(f"level_{i + 1}" for i in range(case.levels))]
    ours = endpoints(model, case.images, names)
    found = {"logits": gap(ours["logits"], case.expected["logits"])}
    if "pooled" in case.expected:
        found["pre_logits"] = gap(ours["pre_logits"], case.expected["pooled"])
    for level in range(case.levels):
        ours_map = ours[f"level_{level + 1}"]
        if f"level{level}" in case.expected:
            found[f"level_{level + 1}"] = gap(ours_map, case.expected[f"level{level}"])
        elif f"level{level}_sample" in case.expected:
            sample = loading.level_sample(ours_map, case.expected["stride"])
            found[f"level_{level + 1}"] = gap(sample, case.expected[f"level{level}_sample"])
    return found


def agrees(model: ImageModel, case: loading.Case, logits: float, levels: float) -> bool:
    """Whether a model reproduces a case within tolerances."""
    found = differences(model, case)
    return all(value <= (levels if name.startswith("level") else logits) for name, value in found.items())


@contextlib.contextmanager
def recorded_outputs() -> Iterator[dict[str, np.ndarray]]:
    """Outputs of every layer that is called eagerly meanwhile, by its path, which is its Flax path."""
    outputs: dict[str, np.ndarray] = {}
    original = keras.layers.Layer.__call__

    def call(layer, *args, **kwargs):
        output = original(layer, *args, **kwargs)
        outputs[layer.path or layer.name] = np.asarray(output[0] if isinstance(output, tuple) else output)
        return output

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(keras.layers.Layer, "__call__", call)
        yield outputs


def gap(ours: np.ndarray, theirs: np.ndarray) -> float:
    """Largest absolute difference of two arrays of one shape."""
    assert ours.shape == theirs.shape, (ours.shape, theirs.shape)
    return float(np.abs(ours - theirs).max())


def loss_and_gradients(
    model: ImageModel, images: np.ndarray, labels: np.ndarray, training: bool = False, of_images: bool = False
) -> tuple[float, dict[str, np.ndarray]]:
    """Mean softmax cross-entropy and its gradients, by Flax path; that of the images is "images".

    Labels are numbers (B,) or one-hot (B, classes); they hold for every position of unpooled logits.
    """
    variables = {conversion.flax_path(v.path).removeprefix("params/"): v.value for v in model.trainable_variables}
    if of_images:
        variables["images"] = images = tf.Variable(images)
    with tf.GradientTape() as tape:
        logits = model(images, training=training)
        if labels.ndim == 1:
            labels = tf.one_hot(labels, logits.shape[-1])
        labels = tf.reshape(labels, (len(labels), *(1,) * (len(logits.shape) - 2), -1))
        loss = -tf.reduce_mean(tf.reduce_sum(labels * tf.nn.log_softmax(logits), axis=-1))
    values = tape.gradient(loss, variables)
    return float(loss), {path: np.asarray(value) for path, value in values.items()}


@contextlib.contextmanager
def exact_matmuls() -> Iterator[None]:
    """JAX at the precision that the reference outputs were computed with."""
    import jax

    with jax.default_matmul_precision("highest"):
        yield


def write_untold(model, path):
    """Writes an .npz as other programs do, which does not tell the size of the images; returns its path."""
    np.savez(path, **{name.removeprefix("params/"): value for name, value in conversion.model_tree(model).items()})
    return path
