"""The arguments of all commands.

They are declared apart from the modules that do the work, which import Keras and TensorFlow: help, completion and wrong
usage need neither. Nothing imported here may need them; tests/test_packaging.py checks it.
"""

import argparse
import ast
from collections.abc import Callable
from typing import Any, NamedTuple

from keras_nest import choices
from keras_nest.cli.completion import PrintCompletion
from keras_nest.cli.config_files import list_configs
from keras_nest.cli.evaluate_arguments import add_evaluate_arguments, add_report_arguments
from keras_nest.cli.export_arguments import add_export_arguments, add_publish_arguments
from keras_nest.cli.finetune_arguments import add_finetune_arguments
from keras_nest.cli.model_arguments import KINDS, add_answer_arguments, add_images_argument, add_model_arguments
from keras_nest.console import add_trust_argument
from keras_nest.version import __version__


class Command(NamedTuple):
    """A sub-command.

    Attributes:
        module: full name of that which does the work; imported when there is some.
        add_arguments: declares its arguments on a parser.
        summary: what it does in a line.
        description: the same at more length, where that is needed.
    """

    module: str
    add_arguments: Callable[[argparse.ArgumentParser], None]
    summary: str
    description: str | None = None


def build_parser() -> argparse.ArgumentParser:
    """The parser of `keras-nest`; the namespace it returns has the name of a command as `command`."""
    parser = argparse.ArgumentParser(prog="keras-nest", description="NesT, ViT and MLP-Mixer for Keras 3.")
    parser.add_argument("--version", action="version", version=f"keras-nest {__version__}")
    parser.add_argument(
        "--print-completion", action=PrintCompletion, choices=("bash", "zsh", "tcsh"), help="script for a shell"
    )
    subparsers = parser.add_subparsers(required=True, metavar="COMMAND", dest="command")
    for name, command in COMMANDS.items():
        command.add_arguments(
            subparsers.add_parser(name, help=command.summary, description=command.description or command.summary)
        )
    return parser


def add_list_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments of `list`."""
    parser.add_argument("pattern", nargs="?", help="glob, such as '*_s16_32', or 'sam/*' with --urls")
    tables = parser.add_mutually_exclusive_group()
    tables.add_argument("--urls", action="store_true", help="table of published checkpoints instead")
    tables.add_argument("--timm", action="store_true", help="models under timm's names instead, with its accuracies")


def add_info_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments of `info`."""
    add_model_arguments(parser, positional=True, kinds=f"name of a model, {KINDS}")


def add_convert_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments of `convert`."""
    parser.add_argument(
        "paths",
        nargs="+",
        metavar="[NAME] CHECKPOINT OUT",
        help="model name (not needed where the checkpoint or its file name tells it), checkpoint (.keras file, "
        "directory of a training, published directory, .flax, .npz, Orbax directory, .safetensors, .pth, directory of "
        "one with config.json; local or gs://) and output, "
        ".keras or .weights.h5; with --to-flax .npz, .msgpack, .flax or, for Orbax, without suffix; with "
        "--to-timm and --to-transformers a directory",
    )
    parser.add_argument("--weights", metavar="CHECKPOINT", help="the checkpoint, where only NAME and OUT are given")
    back = parser.add_mutually_exclusive_group()
    back.add_argument("--to-flax", action="store_true", help="write a Flax checkpoint instead of a Keras model")
    for program in ("timm", "transformers"):
        back.add_argument(
            f"--to-{program}",
            action="store_const",
            const=program,
            dest="to_pytorch",
            help=f"write a directory that {program} opens: model.safetensors and config.json",
        )
    parser.add_argument(
        "--layout",
        choices=choices.LAYOUTS,
        default="linen",
        help="names of --to-flax: today's, or those of the first ViT files",
    )
    parser.add_argument("--num-classes", type=int, help="size of the head (default: the checkpoint's)")
    parser.add_argument("--image-size", type=parse_literal, help="side or HEIGHT,WIDTH (default: the checkpoint's)")
    parser.add_argument("--reinit-head", action="store_true", help="start with a head of zeros")
    parser.add_argument(
        "--resize-method", choices=choices.RESIZE_METHODS, default="block", help="of position embeddings"
    )
    parser.add_argument("--set", action="append", default=[], metavar="FIELD=VALUE", help="override a field")
    parser.add_argument(
        "--verify",
        action="store_true",
        help="compare on random images: with timm or transformers, whose weights they are, else with the Flax module",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace an existing output")
    add_trust_argument(parser)


def parse_literal(text: str) -> Any:
    """A Python literal ("2", "1,1,2", "None", "0.1"), or the text itself."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def add_download_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments of `download`."""
    parser.add_argument("name", metavar="NAME", help="model, SOURCE/MODEL, AugReg file name, or address")
    parser.add_argument("directory", metavar="DIR", help="where the file shall lie; made if missing")
    parser.add_argument("--overwrite", action="store_true", help="replace another file of that name")


def add_augreg_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments of `augreg`."""
    parser.add_argument("--model", required=True, help="B_16, R26_S_32, …, or the full name")
    parser.add_argument("--index", metavar="PATH", help="index.csv (default: the published one)")
    parser.add_argument("--rows", type=int, default=5, metavar="N", help="how many to show (default: %(default)s)")


def add_predict_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments of `predict`."""
    add_images_argument(parser)
    add_model_arguments(parser, kinds=f"{KINDS}, SavedModel, .tflite file", labels=True)
    add_answer_arguments(parser)


def add_zero_shot_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments of `zero-shot`."""
    add_images_argument(parser, nargs="*")
    parser.add_argument("--dataset", metavar="D", help="accuracy on test images: digits, a folder, or a name of TFDS")
    parser.add_argument("--captions", metavar="C", help="recall of captions: a CSV file, or a folder with captions.csv")
    add_model_arguments(parser, vocab=True)
    labels = parser.add_mutually_exclusive_group()
    labels.add_argument(
        "--labels",
        nargs="+",
        metavar="TEXT",
        help="a text for each class, such as 'a dog' 'a cat' (default: those of the training)",
    )
    labels.add_argument("--labels-file", metavar="FILE", help="the same from a file, one a line")
    parser.add_argument(
        "--templates", metavar="FILE", help="sentences with {} for the label, one a line, whose embeddings are averaged"
    )
    parser.add_argument("--split", help="part of the data set (default: test or validation)")
    parser.add_argument("--data-dir", metavar="DIR", help="where TFDS finds its data")
    add_answer_arguments(parser)


def add_explain_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments of `explain`."""
    add_images_argument(parser)
    add_model_arguments(parser, labels=True)
    parser.add_argument("--method", choices=choices.EXPLAIN_METHODS, default="gradcat", help="default: %(default)s")
    parser.add_argument("--class", dest="target", metavar="C", help="name or index (default: the most probable one)")
    parser.add_argument("--save", metavar="DIR", help="write a picture of each image, DIR/NAME.png")
    parser.add_argument("--overwrite", action="store_true", help="replace pictures that are there")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")


def add_app_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments of `app`."""
    add_model_arguments(parser, positional=True, kinds=f"{KINDS}, SavedModel, .tflite file", labels=True, vocab=True)
    parser.add_argument("--port", type=int, default=7860, metavar="N", help="0 for any (default: %(default)s)")
    parser.add_argument("--no-browser", action="store_true", help="do not open the page")


def add_data_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments of `data`."""
    recipes = ", ".join(choices.RECIPES)
    parser.add_argument("name", metavar="NAME", help="digits, a directory DIR with DIR/SPLIT/CLASS/, or a name of TFDS")
    parser.add_argument("--recipe", default="nest", help=f"augmentation: {recipes} (default: %(default)s)")
    parser.add_argument("--image-size", type=int, metavar="N", help="pixels a side (default: the data set's, or 224)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of everything random (default: %(default)s)")
    parser.add_argument("--batch-size", type=int, default=32, metavar="N", help="images a step (default: %(default)s)")
    parser.add_argument("--train-split", default="train", metavar="SPLIT", help="for training (default: %(default)s)")
    parser.add_argument("--test-split", metavar="SPLIT", help="for evaluation (default: test or validation)")
    parser.add_argument("--data-dir", metavar="DIR", help="where TFDS finds its data")
    parser.add_argument(
        "--broken", choices=choices.BROKEN, default="refuse", help="files in folders that are no images"
    )
    parser.add_argument("--show", metavar="FILE", help="draw augmented images and their labels, as .png, .pdf, …")
    parser.add_argument("--overwrite", action="store_true", help="replace the picture if there is one")
    parser.add_argument("--speed", action="store_true", help="table of the time that each stage takes")
    parser.add_argument(
        "--duration", type=float, default=2.0, metavar="SECONDS", help="of measuring a stage (default: %(default)s)"
    )


def add_train_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments of `train`, for completion; absl reads them, and `train_help` explains them."""
    parser.add_argument(
        "--config",
        required=True,
        metavar="NAME|FILE[:ARGUMENT]",
        help=f"what to train: {', '.join(list_configs())}; or a file of yours; --config.FIELD=VALUE changes a field",
    )
    parser.add_argument("--workdir", required=True, metavar="DIR", help="directory of the run")
    parser.add_argument(
        "--strategy",
        choices=choices.STRATEGIES,
        help="where to train; auto: a TPU if one is named, else all GPUs, else the CPU (default: auto)",
    )
    parser.add_argument("--tpu", metavar="NAME", help="name or address of a Cloud TPU, or local")
    parser.add_argument("--overwrite", action="store_true", help="start anew and replace the results of an earlier run")
    add_trust_argument(parser)
    parser.add_argument("--helpfull", action="store_true", help="show the fields of configurations, too")


COMMANDS = {
    "list": Command(
        "keras_nest.cli.list_models",
        add_list_arguments,
        "table of models",
        "Lists the models, with --timm those of timm, or with --urls the published checkpoints.",
    ),
    "info": Command(
        "keras_nest.cli.info",
        add_info_arguments,
        "parameters, multiply-adds, input, preprocessing and layers of a model",
    ),
    "convert": Command(
        "keras_nest.cli.convert",
        add_convert_arguments,
        "checkpoint to Keras and back",
        "Converts a checkpoint of JAX, timm or transformers to a Keras model ([NAME] CHECKPOINT OUT.keras), or back "
        "with --to-flax, --to-timm or --to-transformers.",
    ),
    "export": Command(
        "keras_nest.cli.export",
        add_export_arguments,
        "to SavedModel, TFLite, ONNX or a page",
        "Exports a trained model as a SavedModel, for TF-Serving and TF-Hub, as TFLite or ONNX files, or as a page "
        "that runs it in the browser.",
    ),
    "publish": Command(
        "keras_nest.cli.publish",
        add_publish_arguments,
        "a model to the Hugging Face hub",
        "Uploads a model with its model card to the Hugging Face hub, in one commit: model.keras and README.md.",
    ),
    "download": Command("keras_nest.cli.download", add_download_arguments, "published checkpoint to a local directory"),
    "augreg": Command(
        "keras_nest.cli.augreg",
        add_augreg_arguments,
        "recommended AugReg checkpoints of a model",
        "Shows a model's best AugReg checkpoints: pre-trained on ImageNet-21k, the most accurate there first.",
    ),
    "predict": Command("keras_nest.cli.predict", add_predict_arguments, "the most probable classes of images"),
    "zero-shot": Command(
        "keras_nest.cli.zero_shot",
        add_zero_shot_arguments,
        "which of some texts fits an image",
        "Which of some texts fits each image best, how often that is right, or which caption belongs to which.",
    ),
    "explain": Command(
        "keras_nest.cli.explain",
        add_explain_arguments,
        "where in an image an answer comes from",
        "gradcat: the path down NesT's tree of blocks to where a class comes from. attention: what attends to what, in "
        "NesT's levels or rolled out through a ViT. cam: what each place of the last map adds to a class, for all "
        "models.",
    ),
    "app": Command(
        "keras_nest.cli.app",
        add_app_arguments,
        "a page that asks a model about images",
        "Serves a page for this machine alone: drop an image, see its classes and where they come from.",
    ),
    "data": Command(
        "keras_nest.cli.data",
        add_data_arguments,
        "facts, augmented images and speed of a data set and a recipe",
    ),
    "finetune": Command(
        "keras_nest.cli.finetune",
        add_finetune_arguments,
        "a classifier from a folder of photographs",
        "Fine-tunes a model on a folder of photographs: looks at it, decides, says why, trains and measures. The same "
        "command goes on with a run that was broken off.",
    ),
    "evaluate": Command(
        "keras_nest.cli.evaluate",
        add_evaluate_arguments,
        "how good a model is on labeled images",
        "Measures a model of any kind on labeled images: accuracy, loss, figures of each class, which is taken for "
        "which, and how far its probabilities can be believed. Classes are found by their names.",
    ),
    "report": Command(
        "keras_nest.cli.report",
        add_report_arguments,
        "a page about a run: curves, classes, mistakes",
        "Writes report.html into the directory of a run: one page that needs no server and no network.",
    ),
    "train": Command(
        "keras_nest.cli.train",
        add_train_arguments,
        "train, fine-tune, evaluate: --config=NAME --workdir=DIR",
        "Trains, fine-tunes or evaluates a model. The same command goes on with a training that was broken off.",
    ),
}
"""By the name that is typed."""
