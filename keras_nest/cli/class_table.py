"""How well each class is recognized, as a table: what `finetune` and `evaluate` print."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.markup import escape
from rich.table import Table

from keras_nest.console import console, printable

CLASSES_SHOWN = 40
"""More nobody reads."""


def print_classes(classes: Sequence[Mapping[str, Any]]) -> None:
    """Prints a table, the worst first, which are what to look at; classes without images come last.

    Args:
        classes: name, images, precision, recall and f1 of each, as metrics.json has them.
    """
    table = Table("class")
    for header in ("images", "precision", "recall", "F1"):
        table.add_column(header, justify="right")
    for row in sorted(classes, key=lambda row: (not row["images"], row["f1"]))[:CLASSES_SHOWN]:
        shares = [f"{row[name]:.1%}" if row["images"] else "" for name in ("precision", "recall", "f1")]
        table.add_row(escape(printable(row["name"])), f"{row['images']:,}", *shares)
    console.print(table)
    if len(classes) > CLASSES_SHOWN:
        console.print(f"… and {len(classes) - CLASSES_SHOWN:,} classes that are recognized better.")
