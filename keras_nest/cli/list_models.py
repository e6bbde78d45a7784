"""`keras-nest list`: tables of models and of published checkpoints."""

import argparse

from rich.table import Table

from keras_nest import registry
from keras_nest.cli.download import print_table
from keras_nest.console import console
from keras_nest.models.timm import timm_models


def main(args: argparse.Namespace) -> int:
    """Prints the table.

    Raises:
        ValueError: nothing matches the pattern.
    """
    if args.urls:
        return print_table(args.pattern)
    return _list_timm(args.pattern) if args.timm else _list(args)


def _list_timm(pattern: str | None) -> int:
    names = registry.list_models(pattern, timm=True)
    if not names:
        raise ValueError(f"No model of timm matches {pattern!r}; `keras-nest list --timm` shows all.")
    table = Table("name", "model here", "px", "classes", "top-1", box=None, pad_edge=False, padding=(0, 1, 0, 0))
    for column in table.columns[:2]:
        column.no_wrap = True
    for column in table.columns[2:]:
        column.justify = "right"
    for name in names:
        model = timm_models()[name]
        classes, top1 = str(model.num_classes or ""), "" if model.top1 is None else f"{model.top1:.1f}"
        table.add_row(name, model.model, str(model.image_size), classes, top1)
    console.print(table)
    console.print("top-1: % of ImageNet's validation images, as timm has it; weights: hf://timm/NAME")
    return 0


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
