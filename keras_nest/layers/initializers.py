"""Initial values of the published NesT models."""

import keras


def kernel_initializer() -> keras.Initializer:
    """Normal values cut at two deviations and then scaled by 0.02: actual deviation 0.0176, maximum 0.04.

    Source: `trunc_normal(stddev=0.02)` of the reference, used for every kernel and position embedding.
    """
    return keras.initializers.TruncatedNormal(stddev=0.02)
