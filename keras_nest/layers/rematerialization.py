"""Computing again in the backward pass what would fill the memory until then."""

import contextlib
from collections.abc import Callable
from typing import Any

import keras

from keras_nest.layers.changes import layers_inside
from keras_nest.layers.random import ReplicaSeedGenerator


def rematerialized(layer: keras.layers.Layer, compute: Callable[[Any], Any], x: Any) -> Any:
    """What `compute` makes of x; the backward pass keeps x alone, and computes the rest again.

    Values and gradients are those of `compute(x)`. `keras.RematScope` would draw other dropout masks the second time,
    and fails in `fit`: https://github.com/keras-team/keras/issues/21207.

    Args:
        layer: the layer whose computation it is. Layers inside it draw from a `ReplicaSeedGenerator`, once each, and
            update no statistics.
        compute: x -> tensors in any nesting.
        x: a tensor.
    """
    found = (getattr(inner, "seed_generator", None) for inner in layers_inside(layer))
    drawn = [(generator, generator.next()) for generator in found if isinstance(generator, ReplicaSeedGenerator)]

    def compute_with_the_same_seeds(x: Any) -> Any:
        with contextlib.ExitStack() as stack:
            for generator, seed in drawn:
                stack.enter_context(generator.repeating(seed))
            return compute(x)

    return keras.remat(compute_with_the_same_seeds)(x)
