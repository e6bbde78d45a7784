"""How well each class is recognized, as a table: what `finetune` and `evaluate` print."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.markup import escape
from rich.table import Table

from keras_nest.console import console, printable

CLASSES_SHOWN = 40
"""More nobody reads."""

_COLUMNS = {"average_precision": "average precision", "threshold": "threshold"}
_COLUMNS |= {"precision": "precision", "recall": "recall", "f1": "F1"}


def print_classes(classes: Sequence[Mapping[str, Any]]) -> None:
    """Prints a table, the worst first, which are what to look at; classes without images come last.

    Args:
        classes: name, images, precision, recall and f1 of each, as metrics.json has them; of images of several classes
            average_precision and threshold, too. Without any, nothing is printed.
    """
    if not classes:
        return
    shown = {name: header for name, header in _COLUMNS.items() if name in classes[0]}
    table = Table("class")
    for header in ("images", *shown.values()):
        table.add_column(header, justify="right")
    for row in sorted(classes, key=lambda row: (not row["images"], row["f1"]))[:CLASSES_SHOWN]:
        shares = [f"{row[name]:.1%}" if row["images"] else "" for name in shown]
        table.add_row(escape(printable(row["name"])), f"{row['images']:,}", *shares)
    console.print(table)
    if len(classes) > CLASSES_SHOWN:
        console.print(f"… and {len(classes) - CLASSES_SHOWN:,} classes that are recognized better.")
