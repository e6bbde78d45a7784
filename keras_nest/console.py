"""What all commands share: one console, one way to fail."""

import argparse
import sys
from collections.abc import Callable, Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

# Wide enough for a table in a log file, where rich assumes 80 columns.
console = Console(soft_wrap=False, width=None if sys.stdout.isatty() else 110)


def run(command: Callable[[], int | None]) -> int:
    """Runs a command; what the user did wrong becomes one sentence on stderr.

    Args:
        command: does the work; returns an exit code, or None for success.

    Returns:
        The command's exit code; 2 for bad input, 130 when interrupted.
    """
    try:
        return command() or 0
    except (ValueError, OSError, ModuleNotFoundError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


def add_trust_argument(parser: argparse.ArgumentParser) -> None:
    """Declares `--trust` for commands that read models."""
    parser.add_argument(
        "--trust", action="store_true", help="read a .keras file that carries code, which runs then: HubLayer, Lambda"
    )


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
