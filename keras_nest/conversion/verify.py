"""A converted model against the project's own Flax module on the same weights, or the program that they are of."""

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from keras_nest.conversion.load import load_weights
from keras_nest.conversion.names import Tree, belongs_to
from keras_nest.conversion.originals import Original
from keras_nest.conversion.tree import unflatten
from keras_nest.models.base import logits_model
from keras_nest.optional import import_optional

# Random token ids are below it: in every vocabulary, and one in ten is padding.
_TOKENS = 10


def flax_outputs(model: keras.Model, tree: Tree, inputs: Any) -> Any:
    """Output of the Flax module of the same architecture and configuration.

    Args:
        model: a model of this package; only its configuration is used.
        tree: "params/PATH" and "batch_stats/PATH" -> array.
        inputs: normalized float32 images (B, H, W, channels); of LiT a dictionary, as the model takes it.

    Returns:
        float32 (B, num_classes), or (B, C) without a head, or LiT's dictionary; matrix products in highest precision.

    Raises:
        ModuleNotFoundError: the `flax` extra is not installed.
    """
    import_optional("flax", "Verifying compares with modules of Flax", "[flax]")
    import jax

    from keras_nest.conversion import flax_reference

    config: dict[str, Any] = {**model.config, "num_classes": model.num_classes}
    module = flax_reference.for_config(type(model).__name__, config)
    with jax.default_matmul_precision("highest"):
        apply = jax.jit(module.apply)
        named = isinstance(inputs, Mapping)
        return apply(unflatten(tree), **inputs) if named else np.asarray(apply(unflatten(tree), inputs))


def largest_difference(
    model: keras.Model, tree: Tree, headless: bool = False, batch: int = 2, seed: int = 0
) -> tuple[float, float]:
    """Largest difference between Keras and Flax on random images, and texts where the model takes them.

    Args:
        model: a model of this package whose output is one tensor, or LiT.
        tree: the weights that both should have.
        headless: compare the pooled embeddings, because the head is new and its logits are all zero.
        batch: number of images.
        seed: of the images, which are normally distributed, and of the token ids.

    Returns:
        Largest absolute difference, and the largest absolute output for scale.
    """
    inputs = _inputs(model, batch, seed)
    if headless:
        model = type(model).from_config({**model.config, "num_classes": 0, "classifier_activation": None})
        tree = {path: value for path, value in tree.items() if not belongs_to(path, model.HEAD)}
        load_weights(model, tree)
    return _gap(logits_model(model)(inputs, training=False), flax_outputs(model, tree, inputs))


def difference_from_original(
    model: keras.Model, original: Original, name: str, batch: int = 2, seed: int = 0
) -> tuple[float, float, str]:
    """Largest difference between Keras and the program that the weights are of, on random images.

    Args:
        model: with these weights, as they are.
        original: the program.
        name: full published name of the model.
        batch: as `largest_difference` takes it.
        seed: likewise.

    Returns:
        As `largest_difference`, and name and version of the program.

    Raises:
        ValueError: the program cannot open the weights.
    """
    images = _inputs(model, batch, seed)
    theirs, program = original.outputs(model, name, images)
    return *_gap(logits_model(model)(images, training=False), theirs), program


def _gap(ours: Any, theirs: Any) -> tuple[float, float]:
    """Largest difference of outputs, and the largest output."""
    pairs = [
        tuple(np.asarray(x, np.float32) for x in pair)
        for pair in zip(keras.tree.flatten(ours), keras.tree.flatten(theirs), strict=True)
    ]
    return max(float(np.abs(a - b).max()) for a, b in pairs), max(float(np.abs(b).max()) for _, b in pairs)


def _inputs(model: keras.Model, batch: int, seed: int) -> Any:
    rng = np.random.default_rng(seed)
    return keras.tree.map_structure(lambda x: _random(rng, (batch, *x.shape[1:]), x.dtype), model.input)


def _random(rng: np.random.Generator, shape: tuple[int, ...], dtype: str) -> np.ndarray:
    if "int" in dtype:
        return rng.integers(0, _TOKENS, shape).astype(dtype)
    # As far from 0 as normalized images may be without a warning, whatever they are normalized with.
    return np.clip(rng.standard_normal(shape, dtype=np.float32), -3, 3)
