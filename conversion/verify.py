"""A converted model against the project's own Flax module on the same weights."""

from typing import Any

import keras
import numpy as np

from conversion.load import load_weights
from conversion.names import Tree, belongs_to
from conversion.tree import unflatten


def flax_outputs(model: keras.Model, tree: Tree, images: np.ndarray) -> np.ndarray:
    """Output of the Flax module of the same architecture and configuration.

    Args:
        model: a model of this package; only its configuration is used.
        tree: "params/PATH" and "batch_stats/PATH" -> array.
        images: normalised float32 (B, H, W, channels).

    Returns:
        float32 (B, num_classes), or (B, C) without a head; matrix products in highest precision.

    Raises:
        ModuleNotFoundError: the `flax` extra is not installed.
    """
    try:
        import jax

        from conversion import flax_reference
    except ModuleNotFoundError:
        raise ModuleNotFoundError("Verifying needs the flax extra: pip install 'keras-nest[flax]'.") from None
    config: dict[str, Any] = {**model.config, "num_classes": model.num_classes}
    module = flax_reference.for_config(type(model).__name__, config)
    with jax.default_matmul_precision("highest"):
        return np.asarray(jax.jit(module.apply)(unflatten(tree), images))


def largest_difference(
    model: keras.Model, tree: Tree, headless: bool = False, batch: int = 2, seed: int = 0
) -> tuple[float, float]:
    """Largest difference between Keras and Flax on random images.

    Args:
        model: a model of this package whose output is one tensor.
        tree: the weights that both should have.
        headless: compare the pooled embeddings, because the head is new and its logits are all zero.
        batch: number of images.
        seed: of the images, which are normally distributed.

    Returns:
        Largest absolute difference, and the largest absolute output for scale.
    """
    shape = (batch, *model.image_size, model.config["in_channels"])
    images = np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)
    if headless:
        model = type(model).from_config({**model.config, "num_classes": 0})
        tree = {path: value for path, value in tree.items() if not belongs_to(path, model.HEAD)}
        load_weights(model, tree)
    theirs = flax_outputs(model, tree, images)
    ours = np.asarray(model(images, training=False), dtype=np.float32)
    return float(np.abs(ours - theirs).max()), float(np.abs(theirs).max())
