"""Tab completion of the `keras-nest` command."""

import argparse
from collections.abc import Iterator, Sequence
from typing import Any

from keras_nest.cli.config_files import list_configs
from keras_nest.optional import import_optional


class PrintCompletion(argparse.Action):
    """Prints the script that completes commands, options and their values, made by shtab, and ends the process.

    Values without choices are completed as paths; a configuration by its name.
    """

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,
    ) -> None:
        shtab = import_optional("shtab", "Completion is written by shtab", "shtab")
        for action in _all_actions(parser):
            if action.dest == "config":
                action.choices = list_configs()
            elif action.choices is None and action.nargs != 0:
                action.complete = shtab.FILE  # type: ignore[attr-defined]
        print(shtab.complete(parser, shell=values))
        parser.exit()


def _all_actions(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    """Arguments of a parser and of the commands below it."""
    for action in parser._actions:
        yield action
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                yield from _all_actions(command)
