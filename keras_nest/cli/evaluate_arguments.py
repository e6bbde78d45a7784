"""The arguments of `keras-nest evaluate` and `report`; they need neither Keras nor TensorFlow."""

import argparse

from keras_nest import choices
from keras_nest.console import add_trust_argument


def add_evaluate_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments of `evaluate`."""
    parser.add_argument(
        "model",
        metavar="MODEL",
        help=".keras file, directory of a training, checkpoint whose file name tells the model, SavedModel, TF-Hub "
        "module, .tflite file, or with --weights the name of a model",
    )
    parser.add_argument("--weights", metavar="CHECKPOINT", help="for the name of a model; whatever `convert` reads")
    parser.add_argument("--labels", metavar="FILE", help="class names, one a line (default: those of the model)")
    add_trust_argument(parser)
    images = parser.add_argument_group("images")
    images.add_argument(
        "--data",
        metavar="DATA",
        help="DATA/CLASS/*, DATA/{train,val,test}/CLASS/*, a list of files and classes (DATA.csv, .tsv, .jsonl), "
        "digits, or a name of TFDS (default: what a training was measured with)",
    )
    images.add_argument(
        "--task",
        choices=choices.TASKS,
        help="what a list tells: a class, several or none, a number (default: what the model tells)",
    )
    images.add_argument("--label-column", metavar="NAME", help="of a list, if its name does not tell")
    images.add_argument("--split", help="part of them (default: test or validation)")
    images.add_argument("--data-dir", metavar="DIR", help="where TFDS finds its data")
    images.add_argument("--batch", type=int, default=32, metavar="N", help="images at a time (default: %(default)s)")
    output = parser.add_argument_group("output")
    output.add_argument(
        "--save",
        action="append",
        default=[],
        metavar="FILE",
        help="FILE.json: all figures; FILE.csv: a row for each image; FILE.html: a report; FILE.png, .pdf, …: the "
        "confusion matrix; may be given several times",
    )
    output.add_argument("--overwrite", action="store_true", help="replace files that are there")
    output.add_argument("--json", action="store_true", help="print the figures as JSON instead of tables")


def add_report_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments of `report`."""
    parser.add_argument("run", metavar="RUN", help="directory of a finished training")
    add_trust_argument(parser)
