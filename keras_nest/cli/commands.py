"""The `keras-nest` command: every sub-command is a module of this package with `add_arguments` and `main`."""

import argparse
import sys
from collections.abc import Sequence

from keras_nest.cli import (
    augreg,
    convert,
    data,
    download,
    explain,
    export,
    info,
    list_models,
    predict,
    train,
    zero_shot,
)
from keras_nest.console import run

# Name -> what it does in a line, and the module.
COMMANDS = {
    "list": ("table of models", list_models),
    "info": ("parameters, multiply-adds, input, preprocessing and layers of a model", info),
    "convert": ("checkpoint to Keras and back", convert),
    "export": ("to SavedModel, TFLite or ONNX", export),
    "download": ("published checkpoint to a local directory", download),
    "augreg": ("recommended AugReg checkpoints of a model", augreg),
    "predict": ("the most probable classes of images", predict),
    "zero-shot": ("which of some texts fits an image", zero_shot),
    "explain": ("where in an image an answer comes from", explain),
    "data": ("facts, augmented images and speed of a data set and a recipe", data),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of `keras-nest`.

    Args:
        argv: arguments without the program's name; None takes them from the command line.

    Returns:
        Exit code: 0, or 2 for bad input.
    """
    argv = list(sys.argv[1:] if argv is None else argv)
    if argv[:1] == ["train"]:
        # Training has a command line of its own (absl flags); it is handed over whole.
        train.run(["keras-nest train", *argv[1:]])
        return 0
    args = _parser().parse_args(argv)
    return run(lambda: args.command(args))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="keras-nest", description="NesT, ViT and MLP-Mixer for Keras 3.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, (summary, module) in COMMANDS.items():
        command = commands.add_parser(name, help=summary, description=getattr(module, "DESCRIPTION", None))
        module.add_arguments(command)
        command.set_defaults(command=module.main)
    commands.add_parser("train", help="train, fine-tune, evaluate: --config=FILE --workdir=DIR")
    return parser
