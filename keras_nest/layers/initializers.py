"""Initial values of the published models."""

from typing import Any

import keras


def kernel_initializer() -> keras.Initializer:
    """Normal values cut at two deviations and then scaled by 0.02: actual deviation 0.0176, maximum 0.04.

    Source: `trunc_normal(stddev=0.02)` of the NesT reference, used for every kernel and position embedding.
    """
    return keras.initializers.TruncatedNormal(stddev=0.02)


def get(initializer: Any) -> keras.Initializer:
    """What `keras.initializers.get` makes of a name or configuration; NesT's initializer for None."""
    return kernel_initializer() if initializer is None else keras.initializers.get(initializer)
