"""The plot of `benchmarks.peers`."""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure

from benchmarks.table_cells import SHORT_NAMES


def draw(path: pathlib.Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Bars of the time over the limit's, a panel for each model and batch size, ours in another color.

    Args:
        path: PNG file to write.
        rows: of the table.
    """
    panels = list(dict.fromkeys((row["model"], row["batch"]) for row in rows))
    columns = min(2, len(panels))
    lines = -(-len(panels) // columns)
    figure = Figure(figsize=(5.5 * columns, 4.5 * lines), layout="constrained")
    for number, panel in enumerate(panels, 1):
        axes = figure.add_subplot(lines, columns, number)
        shown = sorted((r for r in rows if (r["model"], r["batch"]) == panel), key=lambda r: -float(r["times limit"]))
        ours = [r["candidate"].startswith(("Keras,", "SavedModel", "TFLite")) for r in shown]
        colors = ["tab:blue" if own else "tab:gray" for own in ours]
        bars = axes.barh([r["candidate"] for r in shown], [float(r["times limit"]) for r in shown], color=colors)
        axes.bar_label(bars, fmt="%.2f", padding=2, fontsize=8)
        axes.axvline(1, color="black", linewidth=0.8)
        axes.margins(x=0.12)
        axes.set_title(f"{SHORT_NAMES[panel[0]]}, batch {panel[1]}")
        axes.set_xlabel("time over that of the matrix products alone")
    figure.savefig(path, dpi=80)
