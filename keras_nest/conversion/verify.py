"""A converted model against the project's own Flax module on the same weights."""

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from keras_nest.conversion.load import load_weights
from keras_nest.conversion.names import Tree, belongs_to
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
    rng = np.random.default_rng(seed)
    inputs = keras.tree.map_structure(lambda x: _random(rng, (batch, *x.shape[1:]), x.dtype), model.input)
    if headless:
        model = type(model).from_config({**model.config, "num_classes": 0, "classifier_activation": None})
        tree = {path: value for path, value in tree.items() if not belongs_to(path, model.HEAD)}
        load_weights(model, tree)
    ours, theirs = (
        [np.asarray(x, np.float32) for x in keras.tree.flatten(outputs)]
        for outputs in (logits_model(model)(inputs, training=False), flax_outputs(model, tree, inputs))
    )
    gaps = [float(np.abs(a - b).max()) for a, b in zip(ours, theirs, strict=True)]
    return max(gaps), max(float(np.abs(x).max()) for x in theirs)


def _random(rng: np.random.Generator, shape: tuple[int, ...], dtype: str) -> np.ndarray:
    if "int" in dtype:
        return rng.integers(0, _TOKENS, shape).astype(dtype)
    # As far from 0 as normalized images may be without a warning, whatever they are normalized with.
    return np.clip(rng.standard_normal(shape, dtype=np.float32), -3, 3)
