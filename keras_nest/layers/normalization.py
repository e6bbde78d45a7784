"""The normalizations of the published models, under their Flax names."""

from typing import Any

import keras
from keras import ops

from keras_nest.layers.base import Layer
from keras_nest.layers.formulation import formulation
from keras_nest.types import Shape


@keras.saving.register_keras_serializable(package="keras_nest")
class LayerNormalization(keras.layers.LayerNormalization):
    """Keras' layer over the last axis, which a `Formulation` computes otherwise.

    It has the name of Keras' since files of weights call a layer of a list after its class.
    """

    def call(self, inputs: Any) -> Any:
        compute = formulation().layer_norm
        return compute(inputs, self.gamma, self.beta, self.epsilon) if compute else super().call(inputs)


# Flax type name and constructor of each value of the `norm_type` field.
_NORMS = {
    "LN": ("LayerNorm", lambda **kw: LayerNormalization(epsilon=1e-6, **kw)),
    "BN": ("BatchNorm", lambda **kw: keras.layers.BatchNormalization(epsilon=1e-5, momentum=0.9, **kw)),
    "GN": ("GroupNorm", lambda **kw: keras.layers.GroupNormalization(groups=32, **{"epsilon": 1e-6, **kw})),
}


def norm(norm_type: str, index: int = 0, **kwargs: Any) -> keras.layers.Layer:
    """Normalization over the last axis.

    Args:
        norm_type: "LN" (epsilon 1e-6), "BN" (epsilon 1e-5, momentum 0.9) or "GN" (32 groups of neighboring channels,
            epsilon 1e-6, statistics over all axes between batch and channels).
        index: count of this type within its parent; the layer is named like Flax does, "LayerNorm_0".
        **kwargs: further layer arguments, such as `dtype`, or another `name` or, of "GN", `epsilon`.

    Returns:
        A Keras layer that keeps shape.

    Raises:
        ValueError: unknown type.
    """
    if norm_type not in _NORMS:
        raise ValueError(f"norm_type is {norm_type!r}; it must be one of {', '.join(map(repr, _NORMS))}.")
    flax_name, create = _NORMS[norm_type]
    return create(**{"name": f"{flax_name}_{index}", **kwargs})


@keras.saving.register_keras_serializable(package="keras_nest")
class ChannelNorm(Layer):
    """Layer normalization over channels with scale `g` and shift `b` of shape (1, 1, 1, C).

    (…, C) -> (…, C), biased variance. The arithmetic is Keras' `ops.layer_normalization`; only the
    names and shapes of the variables are those of vit-flax, so that its checkpoints fit.

    Source: `LayerNorm` in vit-flax `nest.py`.

    Args:
        epsilon: added to the variance.
        **kwargs: the usual layer arguments.
    """

    def __init__(self, epsilon: float = 1e-5, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.epsilon = epsilon

    def build(self, input_shape: Shape) -> None:
        shape = (1, 1, 1, input_shape[-1])
        # Not autocast: scale and shift stay float32 under mixed precision, as in Keras' own normalizations.
        self.g = self.add_weight(name="g", shape=shape, initializer="ones", autocast=False)
        self.b = self.add_weight(name="b", shape=shape, initializer="zeros", autocast=False)

    def call(self, x: Any) -> Any:
        gamma, beta = ops.reshape(self.g, (-1,)), ops.reshape(self.b, (-1,))
        return ops.cast(ops.layer_normalization(x, gamma, beta, axis=-1, epsilon=self.epsilon), self.compute_dtype)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "epsilon": self.epsilon}
