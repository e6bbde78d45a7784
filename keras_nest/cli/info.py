"""`keras-nest info`: what a model is made of."""

import argparse

import keras
from rich.table import Table

from keras_nest import profiling, registry
from keras_nest.console import console, print_facts
from keras_nest.factory import create_model
from keras_nest.models import read_model


def main(args: argparse.Namespace) -> int:
    """Prints the facts and the layers.

    Raises:
        ValueError: there is no such model.
    """
    is_file = args.name.endswith(".keras")
    model = read_model(args.name, args.trust) if is_file else create_model(args.name)
    spec = model.config["preprocessing"] or {}
    facts = {
        "architecture": type(model).__name__,
        "parameters": profiling.count_parameters(model),
        "multiply-adds": profiling.count_macs(model),
        "input": ", ".join(" x ".join(map(str, x.shape[1:])) for x in model.inputs),
        "output": str(keras.tree.map_structure(lambda x: x.shape, model.output)),
        "preprocessing": ", ".join(f"{name} {value}" for name, value in spec.items()) or "none",
    }
    hidden = ("preprocessing", "image_size", "in_channels", "features_only", "num_classes")
    facts |= {field: value for field, value in model.config.items() if field not in hidden}
    print_facts(model.name if is_file else registry.resolve(args.name)[0], facts)
    table = Table("layer", "type", "output", "parameters")
    table.columns[3].justify = "right"
    for layer in model.layers:
        output = layer.output[0] if isinstance(layer.output, (list, tuple)) else layer.output
        table.add_row(layer.name, type(layer).__name__, str(tuple(output.shape)), f"{layer.count_params():,}")
    console.print(table)
    return 0
