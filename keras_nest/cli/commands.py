"""The `keras-nest` command: reads what is typed, and hands it to the module of this package that does the work."""

import argparse
import importlib
import sys
from collections.abc import Sequence

from keras_nest.cli.parser import COMMANDS, build_parser
from keras_nest.cli.train_help import help_text
from keras_nest.console import run


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command.

    Args:
        argv: arguments without the program's name; None takes them from the command line.

    Returns:
        Exit code: 0, or 2 for bad input.

    Raises:
        SystemExit: help was asked for, and given, or the usage is wrong.
    """
    return execute(parse(argv))


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Reads a command line, without importing Keras and TensorFlow; arguments and errors as for `main`."""
    argv = list(sys.argv[1:] if argv is None else argv)
    if argv[:1] == ["train"]:
        if {"-h", "--help", "--helpfull"}.intersection(argv):
            print(help_text("keras-nest train"))
            raise SystemExit(0)
        # Its flags are absl's, since those of its fields follow from the configuration; they are handed over whole.
        return argparse.Namespace(command="train", flags=argv[1:])
    return build_parser().parse_args(argv)


def execute(args: argparse.Namespace) -> int:
    """Runs the command that was read; arguments and result as for `main`."""
    module = importlib.import_module(COMMANDS[args.command].module)
    if args.command == "train":
        # It says itself what is used wrongly, and errors in the midst of a training keep their traceback.
        module.run(["keras-nest train", *args.flags])
        return 0
    return run(lambda: module.main(args))
