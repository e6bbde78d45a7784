"""Nested fields of models, as the configurations of the papers on ViT and Mixer have them."""

from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from keras_nest.hints import did_you_mean

_TRANSFORMER = ("num_layers", "num_heads", "mlp_dim", "dropout_rate", "attention_dropout_rate")
_NESTED = {
    "transformer": {field: field for field in _TRANSFORMER},
    "patches": {"size": "patch_size"},
    "resnet": {"num_layers": "resnet_num_layers", "width_factor": "resnet_width_factor"},
}


def flat_model_fields(model: Mapping[str, Any] | ConfigDict) -> dict[str, Any]:
    """The fields of a model as `keras_nest.create_model` takes them.

    >>> flat_model_fields({"transformer": {"dropout_rate": 0.1}, "patches": {"size": (16, 16)}, "hidden_size": 8})
    {'hidden_size': 8, 'dropout_rate': 0.1, 'patch_size': (16, 16)}

    Args:
        model: fields, some of them in groups as in the reference's `vit_jax/configs/models.py`: `transformer`, None for
            a model without one, `patches` and `resnet`.

    Raises:
        ValueError: there is no such field, or it is given twice.
    """
    flat = {field: value for field, value in model.items() if field not in _NESTED}
    for group in (group for group in model if group in _NESTED):
        fields = model[group]
        if fields is None:
            fields = {"num_layers": None} if group != "patches" else {}
        if not isinstance(fields, (Mapping, ConfigDict)):
            raise ValueError(f"model.{group} is {fields!r}; it must be a group of fields.")
        for field, value in fields.items():
            if field not in _NESTED[group]:
                hint = did_you_mean(field, _NESTED[group])
                raise ValueError(f"There is no field model.{group}.{field}; {hint}")
            name = _NESTED[group][field]
            if name in flat:
                raise ValueError(f"model.{name} and model.{group}.{field} are the same; give one of them.")
            flat[name] = value
    return flat
