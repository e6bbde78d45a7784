"""What all commands share: one console, one way to fail, one way to show names from outside."""

import argparse
import json
import logging
import os
import re
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from keras_nest.files import telling_of_disk


class SafeConsole(Console):
    """A console that shows what would command the terminal, such as escape sequences in names, as `printable` does."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """As `Console.render`, of which every text is made visible."""
        for segment in super().render(renderable, options):
            # Colors and the bars of progress are no text yet.
            yield segment if segment.control else segment._replace(text=_visible(segment.text, but="\n"))


# Wide enough for a table in a log file, where rich assumes 80 columns.
console = SafeConsole(soft_wrap=False, width=None if sys.stdout.isatty() else 110)
# How a formula begins in a spreadsheet, and what keeps it from being one.
_FORMULA, _NO_FORMULA = ("=", "+", "-", "@", "'"), "'"


class _Formatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return _visible(super().format(record), but="\n")


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
    if logging.lastResort is not None:
        logging.lastResort.setFormatter(_Formatter())
    try:
        # What libraries make meanwhile; outputs tell their own names.
        with telling_of_disk(f"A file, in {tempfile.gettempdir()} (TMPDIR names another place) or in the cache,"):
            return command() or 0
    except BrokenPipeError:
        # As `head` leaves it; what is still to be written goes nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except (ValueError, OSError, ModuleNotFoundError) as error:
        return _fail(error)
    except MemoryError:
        return _fail("there is not enough memory for this.")
    except Exception as error:
        if (sentence := _of_the_system(error)) is None:
            raise
        return _fail(sentence)
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
        return 130


def _fail(sentence: object) -> int:
    print(f"error: {_visible(str(sentence), but=chr(10))}", file=sys.stderr)
    return 2


def _of_the_system(error: Exception) -> str | None:
    """What the machine denied, of errors that Python and TensorFlow have no class of their own for; None of others."""
    message = str(getattr(error, "message", error)).partition("\n")[0]
    if isinstance(error, RuntimeError) and "start new thread" in message:
        return "the system starts no more threads for this process; end others, or allow more (ulimit -u)."
    # Those of TensorFlow, which is not imported here; they name a place in the graph before and behind.
    message = re.sub(r"^{{.*?}} |\s*\[Op:.*$", "", message)
    return f"{message.rstrip('.')}." if hasattr(error, "error_code") and hasattr(error, "node_def") else None


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
    return _visible(str(text))


def _visible(text: str, but: str = "") -> str:
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in but else c.encode("unicode_escape").decode() for c in text)


def cell(text: object) -> str:
    """Text from outside as a cell of a CSV file: `printable`, and no formula where a spreadsheet opens it.

    >>> cell("=1+1")
    "'=1+1"
    """
    shown = printable(text)
    return f"{_NO_FORMULA}{shown}" if shown.startswith(_FORMULA) else shown


def shorten(text: str, longest: int) -> str:
    """Text of at most so many letters, the last of them an ellipsis where some are left out."""
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


def print_json(facts: Mapping[str, Any]) -> None:
    """Prints JSON on one line, at once; what the output cannot hold is escaped as JSON does."""
    line = json.dumps(facts, ensure_ascii=False)
    line = "".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in line)
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
    console.print(Text(printable(title)), style="bold")
    table = Table(show_header=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for name, value in facts.items():
        table.add_row(*(Text(printable(text)) for text in (name, f"{value:,}" if type(value) is int else value)))
    console.print(table)
