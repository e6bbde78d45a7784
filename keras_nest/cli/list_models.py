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
    if "testing" not in (args.pattern or ""):
        names = [name for name in names if not name.startswith("testing")]
    if not names:
        raise ValueError(f"No model matches {args.pattern!r}; `keras-nest list` shows all.")
    aliases = {name: alias for alias, name in registry.ALIASES.items()}
    # Without lines between the columns, and with rounded numbers, all rows are whole in a terminal of 80 columns.
    table = Table("name", "alias", "architecture", "input", "classes", "params", box=None, pad_edge=False)
    for column in table.columns[3:]:
        column.justify = "right"
    counts = registry.parameter_counts()
    for column in table.columns[:2]:
        column.no_wrap = True
    for name in names:
        _, architecture, fields = registry.resolve(name)
        size, classes = str(fields["image_size"]), str(fields.get("num_classes", ""))
        parameters = f"{counts[name] / 1e6:.1f} M" if name in counts else ""
        table.add_row(name, aliases.get(name, ""), architecture.__name__, size, classes, parameters)
    console.print(table)
    return 0
