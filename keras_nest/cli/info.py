"""`keras-nest info`: what a model is made of."""

import argparse
from typing import Any

import keras
from rich.table import Table

from keras_nest import profiling
from keras_nest.console import console, print_facts
from keras_nest.models.answers import task_of
from keras_nest.models.configured import ConfiguredModel
from keras_nest.opening import LoadedModel, open_model
from keras_nest.registry import is_name, resolve
from keras_nest.targets import SINGLE_LABEL


def main(args: argparse.Namespace) -> int:
    """Prints the facts and the layers.

    Raises:
        ValueError: there is no such model.
    """
    loaded = open_model(args.model, args.weights, trust=args.trust, untrained=True)
    model = loaded.model
    config = model.config if isinstance(model, ConfiguredModel) else _config(loaded)
    spec = config.get("preprocessing") or {}
    facts = {
        "architecture": type(model).__name__,
        "parameters": profiling.count_parameters(model),
        "multiply-adds": profiling.count_macs(model),
        "input": ", ".join(" x ".join(map(str, x.shape[1:])) for x in model.inputs),
        "output": str(keras.tree.map_structure(lambda x: x.shape, model.output)),
        **({"tells": task_of(model)} if task_of(model) != SINGLE_LABEL else {}),
        "preprocessing": ", ".join(f"{name} {value}" for name, value in spec.items()) or "none",
    }
    hidden = ("preprocessing", "image_size", "in_channels", "features_only", "num_classes")
    facts |= {field: value for field, value in config.items() if field not in hidden}
    print_facts(resolve(args.model)[0] if is_name(args.model) else model.name, facts)
    table = Table("layer", "type", "output", "parameters")
    table.columns[3].justify = "right"
    for layer in model.layers:
        table.add_row(layer.name, type(layer).__name__, _shape(layer), f"{layer.count_params():,}")
    console.print(table)
    return 0


def _shape(layer: keras.layers.Layer) -> str:
    """Shape of a layer's first output; empty where it is called several times."""
    try:
        return str(tuple(keras.tree.flatten(layer.output)[0].shape))
    except AttributeError:
        return ""


def _config(loaded: LoadedModel) -> dict[str, Any]:
    """Of a user's model around one of this package: what images it takes, and the arguments of the one inside."""
    try:
        found = loaded.image_model
    except ValueError:
        return {}
    inside = found.inside
    return {**({"inside": type(inside).__name__, **inside.config} if inside else {}), **found.config}
