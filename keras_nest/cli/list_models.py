"""`keras-nest list`: tables of models and of published checkpoints."""

import argparse

from rich.table import Table

from keras_nest import registry
from keras_nest.cli.download import print_table
from keras_nest.console import console


def main(args: argparse.Namespace) -> int:
    """Prints the table.

    Raises:
        ValueError: nothing matches the pattern.
    """
    return print_table(args.pattern) if args.urls else _list(args)


def _list(args: argparse.Namespace) -> int:
    names = registry.list_models(args.pattern)
    if not names:
        raise ValueError(f"No model matches {args.pattern!r}; `keras-nest list` shows all.")
    aliases = {name: alias for alias, name in registry.ALIASES.items()}
    table = Table("name", "alias", "architecture", "input", "classes", "parameters")
    for column in table.columns[3:]:
        column.justify = "right"
    for name in names:
        _, architecture, fields = registry.resolve(name)
        size, classes = fields["image_size"], fields.get("num_classes", "")
        parameters = f"{registry.PARAMETERS[name]:,}"
        table.add_row(name, aliases.get(name, ""), architecture.__name__, f"{size} x {size}", str(classes), parameters)
    console.print(table)
    return 0
