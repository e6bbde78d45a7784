"""Outputs that image models share: pooling and classifier head, and the feature pyramid."""

import math
from collections.abc import Mapping
from typing import Any

import keras

from keras_nest.models.fields import check_activation
from keras_nest.models.outputs import ClassifierHead


def classifier_endpoints(
    features: keras.KerasTensor,
    num_classes: int,
    policy: keras.DTypePolicy,
    activation: str | None = None,
    **head: Any,
) -> dict[str, keras.KerasTensor]:
    """Global average pooling and the head.

    Args:
        features: normalized last map (B, H, W, C).
        num_classes: size of the head; 0 leaves it out.
        policy: of the body; under mixed precision the pooling and the head stay in float32.
        activation: as `head_endpoints` takes it.
        **head: arguments of the head, `keras.layers.Dense`.

    Returns:
        Endpoints `features`, `pre_logits` (B, C) and, with a head, those of `head_endpoints`.
    """
    pooled = keras.layers.GlobalAveragePooling2D(name="pre_logits", dtype=policy.variable_dtype)(features)
    endpoints = {"features": features, "pre_logits": pooled}
    return endpoints | head_endpoints(pooled, num_classes, policy, activation, **head)


def head_endpoints(
    pooled: keras.KerasTensor, num_classes: int, policy: keras.DTypePolicy, activation: str | None = None, **head: Any
) -> dict[str, keras.KerasTensor]:
    """The head, and what makes probabilities of its logits.

    Args:
        pooled: what it sees, (…, C).
        num_classes: its size; 0 leaves it out.
        policy: of the body; under mixed precision the head and the activation stay in float32.
        activation: "softmax", "sigmoid", or None for none.
        **head: further arguments of `keras.layers.Dense`, its name among them.

    Returns:
        Endpoint `logits` (…, num_classes), also under the layer's name, and with an activation `probabilities`; nothing
        without a head.

    Raises:
        ValueError: there is no such activation, or it is the softmax of a single class.
    """
    if not num_classes:
        return {}
    check_activation(activation, num_classes)
    layer = ClassifierHead(num_classes, dtype=policy.variable_dtype, **head)
    logits = layer(pooled)
    endpoints = {"logits": logits, layer.name: logits}
    if activation is not None:
        last = keras.layers.Activation(activation, name="probabilities", dtype=policy.variable_dtype)
        endpoints["probabilities"] = last(logits)
    return endpoints


def feature_pyramid(
    inputs: keras.KerasTensor, endpoints: Mapping[str, keras.KerasTensor]
) -> dict[str, keras.KerasTensor]:
    """Level maps, finest first, named like Keras backbones do: Pk has stride 2^k.

    Where a stride is not a power of two the names are level_1 … level_n.

    Args:
        inputs: symbolic images (B, H, W, channels).
        endpoints: of a model whose levels have strides of their own.
    """
    maps = {name: x for name, x in endpoints.items() if name.startswith("level_")}
    strides = [inputs.shape[1] / x.shape[1] for x in maps.values()]
    exponents = [math.log2(stride) for stride in strides]
    if not all(exponent.is_integer() for exponent in exponents):
        return maps
    return {f"P{int(exponent)}": x for exponent, x in zip(exponents, maps.values(), strict=True)}
