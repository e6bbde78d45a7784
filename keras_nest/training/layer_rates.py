"""Learning rates that fall from the head down to the first layers: layer-wise decay."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras

from keras_nest.keras_private import variable_index
from keras_nest.layers.changes import layers_by_path
from keras_nest.models.base import PublishedModel
from keras_nest.models.configured import split_depth


def layer_rates(model: PublishedModel, decay: float) -> dict[str, float]:
    """Factors of the learning rate by which a model is fine-tuned.

    Of L blocks the last has `decay`, the one before it decay^2, and what comes before the first, such as the embedding
    of patches, decay^(L + 1). What follows a block in a hierarchy, such as the pooling between two levels, has the
    factor of the block; what follows the last one, norm and head, has 1.

    Source: Kevin Clark et al., "ELECTRA", 2020, arXiv:2003.10555, and for images Hangbo Bao et al., "BEiT", 2022,
    arXiv:2106.08254, appendix H; equal to `layer_decay` of timm for a ViT.

    Args:
        model: with blocks to count.
        decay: from each block to the one before.

    Returns:
        Path of each trainable variable -> its factor.

    Raises:
        ValueError: the model has no blocks to count, or the decay is not above 0 and at most 1.
    """
    if not 0 < decay <= 1:
        raise ValueError(f"layer_decay is {decay}; it must be above 0 and at most 1.")
    if model.BLOCKS is None:
        raise ValueError(f"layer_decay is for models with blocks to count, and a {type(model).__name__} has none.")
    field, path = model.BLOCKS
    depth = sum(split_depth(model.config[field]))
    blocks = {path.format(number): number for number in range(depth)}
    # Of the layers between two blocks, the number of blocks before tells the place.
    factors: dict[str, float] = {}
    passed = 0
    for name, layer in layers_by_path(model).items():
        if name in blocks:
            passed = blocks[name] + 1
        is_last = name == model.NORM or (passed == depth and not _is_inside(name, path.format(depth - 1)))
        factor = 1.0 if is_last else decay ** (depth + 1 - passed)
        factors |= {variable.path: factor for variable in layer.trainable_variables if not _is_outer(name, path)}
    # Outer layers hold what is neither theirs alone nor a block's.
    rest = {variable.path: decay ** (depth + 1) for variable in model.trainable_variables}
    return {**rest, **factors}


def _is_inside(name: str, outer: str) -> bool:
    return name == outer or name.startswith(f"{outer}/")


def _is_outer(name: str, path: str) -> bool:
    """Whether blocks lie inside a layer, as those of a ViT in its encoder."""
    return path.startswith(f"{name}/")


class LayerRates:
    """Mixin for optimizers of Keras whose `update_step` asks `rate_of`: each variable has a factor of its own."""

    _factors: Sequence[float] = ()

    def set_layer_rates(self, variables: Sequence[keras.Variable], factors: Mapping[str, float]) -> None:
        """Scales the learning rate, and with it decoupled weight decay.

        Args:
            variables: those that the optimizer was built with, in their order.
            factors: by paths of variables; what is not named has 1.
        """
        self._factors = [factors.get(variable.path, 1.0) for variable in variables]

    def rate_of(self, variable: Any, learning_rate: Any) -> Any:
        """The learning rate of a variable."""
        return learning_rate * self._factors[variable_index(self, variable)] if self._factors else learning_rate
