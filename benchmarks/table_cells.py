"""What tables are made of: rows of results/, numbers as cells, Markdown."""

import csv
import pathlib
from collections.abc import Iterable

ROOT = pathlib.Path(__file__).resolve().parent.parent
RESULTS = ROOT / "results"
SHORT_NAMES = {"nest_tiny_s196_224": "NesT-T", "ViT-S_16": "ViT-S/16", "Mixer-B_16": "Mixer-B/16"}
"""What tables and plots call models."""


def read_rows(name: str) -> list[dict[str, str]]:
    """Rows of results/NAME.csv."""
    with (RESULTS / f"{name}.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def markdown(header: list[str], rows: Iterable[list[str]], columns: str) -> str:
    """A table; `columns` has "l" or "r" for each."""
    rules = [{"l": "---", "r": "---:"}[column] for column in columns]
    lines = [f"| {' | '.join(cells)} |" for cells in (header, *rows)]
    return "\n".join([lines[0], f"|{'|'.join(rules)}|", *lines[1:]])


def ratio(value: str) -> str:
    """With two digits; of what is compared with itself, 1."""
    return "1" if float(value) == 1 else f"{float(value):.2f}"


def difference(value: str) -> str:
    """Rounded as far as it means something."""
    if not value:
        return ""
    return f"{float(value):.2f}" if float(value) >= 0.01 else f"{float(value):.0e}"


def numbers(values: tuple[float, ...]) -> str:
    """Numbers of the channels, or one of all."""
    return ", ".join(f"{value:.3g}" for value in dict.fromkeys(values))


def millions(count: str | int) -> str:
    """As "17.0 M"."""
    return f"{int(count) / 1e6:.1f} M"


def billions(count: str | int) -> str:
    """As "5.80 G"."""
    return f"{int(count) / 1e9:.2f} G"
