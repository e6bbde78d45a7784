"""`keras-nest list --urls` and `keras-nest download`."""

import argparse
import fnmatch
import itertools
import os
from typing import Any

from rich import box, progress
from rich.table import Table

from keras_nest.console import SafeConsole, console, print_facts
from keras_nest.conversion.download import download
from keras_nest.conversion.published import PUBLISHED, PublishedCheckpoint, companions, find, names, others
from keras_nest.files import check_local

_CAPTION = "MiB: the weights alone; a file is a little larger. Download by MODEL, SOURCE/MODEL or address."

_PIPE_WIDTH = 190


def main(args: argparse.Namespace) -> int:
    """Downloads a checkpoint, and the vocabulary that belongs to it.

    Raises:
        ValueError: unknown name, or a directory that is an address.
        OSError: the source cannot be read, or the output exists or cannot be written.
    """
    check_local(args.directory)
    checkpoint = find(args.name)
    for row in (checkpoint, *companions(checkpoint)):
        _download(row, args)
    if more := [_name(row) for row in others(checkpoint) if row not in companions(checkpoint)]:
        console.print(f"Other checkpoints of {checkpoint.model}:", *more, sep="\n  ", soft_wrap=True)
    return 0


def print_table(pattern: str | None) -> int:
    """Prints the published checkpoints.

    Args:
        pattern: glob on the names of checkpoints, such as "sam/*"; None shows all.

    Raises:
        ValueError: there is none.
    """
    rows = [row for row in PUBLISHED if pattern is None or fnmatch.filter(names(row), pattern)]
    if not rows:
        raise ValueError(f"No published checkpoint matches {pattern!r}; `keras-nest list --urls` shows all.")
    table = Table("source, model", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for header in ("classes", "image", "MiB"):
        table.add_column(header, justify="right")
    table.add_column("address", overflow="fold")
    for source, group in itertools.groupby(rows, key=lambda row: row.source):
        table.add_row(f"[bold]{source}")
        for row in group:
            table.add_row(*_cells(row))
        table.add_section()
    # In a pipe every address has a line of its own, to be searched and copied.
    (console if console.is_terminal else SafeConsole(width=_PIPE_WIDTH)).print(table)
    console.print(_CAPTION)
    return 0


def _cells(row: PublishedCheckpoint) -> tuple[str, str, str, str, str]:
    size = f"{row.bytes / 2**20:,.0f}" if row.bytes else ""
    return f"  {row.model or 'any'}", str(row.classes or ""), str(row.image_size or ""), size, row.uri


def _download(row: PublishedCheckpoint, args: argparse.Namespace) -> None:
    columns = (progress.TextColumn("{task.description}"), progress.BarColumn(), progress.DownloadColumn(True))
    rates = (progress.TransferSpeedColumn(), progress.TimeRemainingColumn())
    told: list[tuple[int, int]] = []
    with progress.Progress(*columns, *rates, console=console) as bar:
        task = bar.add_task("Downloading", total=None, visible=False)

        def tell(done: int, size: int) -> None:
            told.append((done, size))
            bar.update(task, completed=done, total=size, visible=True)

        path = download(row.uri, args.directory, args.overwrite, tell)
    (kept, size), title = told[0], row.model or os.path.basename(row.uri)
    print_facts(f"{'Already there:' if kept == size else 'Downloaded'} {title}", _facts(row, str(path), kept, size))


def _facts(row: PublishedCheckpoint, path: str, kept: int, size: int) -> dict[str, Any]:
    mebi = 2**20
    facts: dict[str, Any] = {"address": row.uri, "path": path, "size": f"{size / mebi:,.1f} MiB"}
    if 0 < kept < size:
        facts["fetched"] = f"{(size - kept) / mebi:,.1f} MiB; an earlier download had left the rest"
    facts |= {"classes": row.classes, "image size": row.image_size and f"{row.image_size} x {row.image_size}"}
    return {name: value for name, value in facts.items() if value}


def _name(row: PublishedCheckpoint) -> str:
    return f"{row.source}/{os.path.basename(row.uri).removesuffix('.npz')}"
