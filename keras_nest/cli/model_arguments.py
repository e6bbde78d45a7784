"""Arguments that several commands have: a model, images, and how answers are shown."""

import argparse

from keras_nest.console import add_trust_argument

KINDS = ".keras file, directory of a training, checkpoint whose file name tells the model"
"""Of models, as `keras_nest.open_model` reads them."""


def add_model_arguments(
    parser: argparse.ArgumentParser,
    kinds: str = KINDS,
    positional: bool = False,
    labels: bool = False,
    vocab: bool = False,
) -> None:
    """Declares `model`, `weights` and `trust`, as `keras_nest.open_model` takes them.

    Args:
        parser: takes the arguments.
        kinds: what a model may be, beside a name with weights.
        positional: the model stands by itself, without `--model`.
        labels: declare a file of class names, too.
        vocab: declare the vocabulary of a LiT, too.
    """
    model = f"{kinds}, or with --weights the name of a model"
    if positional:
        parser.add_argument("model", metavar="MODEL", help=model)
    else:
        parser.add_argument("--model", required=True, metavar="M", help=model)
    parser.add_argument("--weights", metavar="CHECKPOINT", help="for the name of a model; whatever `convert` reads")
    if labels:
        parser.add_argument("--labels", metavar="FILE", help="class names, one a line (default: those of the model)")
    if vocab:
        parser.add_argument("--vocab", metavar="FILE", help="vocabulary of LiT's text tower (default: that beside it)")
    add_trust_argument(parser)


def add_images_argument(parser: argparse.ArgumentParser, nargs: str = "+") -> None:
    """Declares `images`, so many as argparse's `nargs` says."""
    parser.add_argument("images", nargs=nargs, metavar="IMAGE", help="files, folders, or globs such as 'photos/*.jpg'")


def add_answer_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares what `keras_nest.cli.answers.print_predictions` reads, but for the images."""
    parser.add_argument("--top", type=int, default=5, metavar="N", help="classes shown an image (default: %(default)s)")
    parser.add_argument("--batch", type=int, default=32, metavar="N", help="images at a time (default: %(default)s)")
    parser.add_argument("--save", metavar="DIR", help="write a picture of each image beside its classes, DIR/NAME.png")
    parser.add_argument("--overwrite", action="store_true", help="replace pictures that are there")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
