"""What all commands share: one console, one way to fail."""

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Callable, Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

from keras_nest.files import telling_of_disk

# Wide enough for a table in a log file, where rich assumes 80 columns.
console = Console(soft_wrap=False, width=None if sys.stdout.isatty() else 110)


def run(command: Callable[[], int | None]) -> int:
    """Runs a command; what the user did wrong becomes one sentence on stderr.

    Args:
        command: does the work; returns an exit code, or None for success.

    Returns:
        The command's exit code; 2 for bad input, 130 when interrupted, 141 when nobody reads the output any more.
    """
    if hasattr(sys.stdout, "reconfigure"):
        # A name that the locale cannot write costs nobody the other lines.
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        # What libraries make meanwhile; outputs tell their own names.
        with telling_of_disk(f"A file, in {tempfile.gettempdir()} (TMPDIR names another place) or in the cache,"):
            return command() or 0
    except BrokenPipeError:
        # As `head` leaves it; what is still to be written goes nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except (ValueError, OSError, ModuleNotFoundError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
        return 130


def add_trust_argument(parser: argparse.ArgumentParser) -> None:
    """Declares `--trust` for commands that read models."""
    parser.add_argument(
        "--trust", action="store_true", help="read a .keras file that carries code, which runs then: HubLayer, Lambda"
    )


def printable(text: object) -> str:
    r"""Text on one line: what cannot be seen, or is no text, such as bytes of a file name, is escaped.

    >>> printable("a\nb")
    'a\\nb'
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(text))


def shorten(text: str, longest: int) -> str:
    """Text of at most so many letters, the last of them an ellipsis where some are left out."""
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


def print_json(facts: Mapping[str, Any]) -> None:
    """Prints JSON on one line, at once; what the output cannot hold is escaped as JSON does."""
    line = json.dumps(facts, ensure_ascii=False)
    try:
        line.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        line = json.dumps(facts)
    print(line, flush=True)


def print_facts(title: str, facts: Mapping[str, Any]) -> None:
    """Prints a table of names and values.

    Args:
        title: above the table.
        facts: one row each; whole numbers get thousands separators.
    """
    console.print(title, style="bold")
    table = Table(show_header=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for name, value in facts.items():
        table.add_row(name, f"{value:,}" if type(value) is int else str(value))
    console.print(table)
