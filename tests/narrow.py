"""Published models with their names, inputs and outputs but few channels and layers, for pages run as written."""

from typing import Any

from keras_nest.models.families import MODELS

_NEST = {"embedding_dim": 24, "num_heads": 3, "num_layers_per_block": (1, 1, 1)}
NARROW: dict[str, dict[str, Any]] = {
    "nest_tiny_s196_224": _NEST,
    "nest_base_s196_224": _NEST,
    "nest_tiny_s16_32": {"embedding_dim": 24, "num_layers_per_block": (1, 1, 1, 1)},
    "ViT-B_16": {"hidden_size": 24, "num_heads": 3, "mlp_dim": 48},
    "R26+ViT-S_32": {
        "hidden_size": 24,
        "num_heads": 3,
        "mlp_dim": 48,
        "num_layers": 2,
        "resnet_num_layers": (1, 1, 1, 1),
    },
}


def narrowed() -> dict[str, tuple[Any, dict[str, Any]]]:
    """Entries for `keras_nest.models.families.MODELS`: class and fields by name."""
    return {name: (MODELS[name][0], {**MODELS[name][1], **fields}) for name, fields in NARROW.items()}
