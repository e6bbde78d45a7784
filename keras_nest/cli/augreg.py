"""`python -m conversion augreg`: the recommended AugReg checkpoints of a model."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import TYPE_CHECKING

from rich.table import Table

from keras_nest.console import console
from keras_nest.conversion.augreg_index import INDEX, augreg_ranking, checkpoint_uri

if TYPE_CHECKING:
    import pandas


def main(args: argparse.Namespace) -> int:
    """Prints a table, and the addresses of the recommended checkpoint and of its fine-tuned one.

    Raises:
        ValueError: bad arguments, an unknown model or a file that is no index.
        OSError: the index cannot be read.
        ModuleNotFoundError: pandas is missing.
    """
    if args.rows < 1:
        raise ValueError(f"--rows is {args.rows}; it must be at least 1.")
    ranking = augreg_ranking(args.index or INDEX, args.model)
    table = Table("checkpoint", "data", "image", "accuracy")
    for column in table.columns[2:]:
        column.justify = "right"
    for filename in ranking["filename"].unique()[: args.rows]:
        for row in _rows(ranking, filename):
            table.add_row(*row)
        table.add_section()
    console.print(table)
    console.print("Recommended:", *_addresses(ranking), sep="\n  ", soft_wrap=True)
    return 0


def _rows(ranking: pandas.DataFrame, filename: str) -> Iterator[tuple[str, str, str, str]]:
    """A pre-trained checkpoint, and what of it was fine-tuned on ImageNet 2012."""
    best = ranking[ranking["filename"] == filename].iloc[0]
    yield filename, "ImageNet-21k", "224", _percent(best["final_val"])
    tuned = _tuned(ranking, filename)
    if tuned is not None:
        ending = tuned["adapt_filename"].removeprefix(filename)
        yield f"  {ending}", "ImageNet-2012", str(tuned["adapt_resolution"]), _percent(tuned["adapt_final_val"])


def _tuned(ranking: pandas.DataFrame, filename: str) -> pandas.Series | None:
    """The best of what was fine-tuned on ImageNet 2012 from a pre-trained checkpoint."""
    rows = ranking[(ranking["filename"] == filename) & (ranking["adapt_ds"] == "imagenet2012")]
    scores = rows["adapt_final_val"].dropna()
    return None if scores.empty else rows.loc[scores.idxmax()]


def _addresses(ranking: pandas.DataFrame) -> list[str]:
    best = ranking.iloc[0]["filename"]
    tuned = _tuned(ranking, best)
    return [checkpoint_uri(name) for name in (best, *([] if tuned is None else [tuned["adapt_filename"]]))]


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
