"""The arguments of `keras-nest finetune`; as those of all commands, they need neither Keras nor TensorFlow."""

import argparse

from keras_nest import choices
from keras_nest.console import add_trust_argument


def add_finetune_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments of `finetune`."""
    parser.add_argument(
        "folder",
        metavar="DATA",
        help="folder with CLASS/* or {train,val,test}/CLASS/*, list of files and classes (.csv, .jsonl), name in TFDS",
    )
    parser.add_argument(
        "--model", required=True, metavar="M", help="name of a model, .keras file, run, hf://OWNER/NAME"
    )
    parser.add_argument(
        "--weights", metavar="CHECKPOINT", help="file, or published one such as sam/ViT-S_16 (default: new weights)"
    )
    parser.add_argument(
        "--workdir", required=True, metavar="DIR", help="directory of the run, or an address such as gs://bucket/run"
    )
    parser.add_argument("--overwrite", action="store_true", help="start anew and replace an earlier run's results")
    add_trust_argument(parser)
    _add_images(parser.add_argument_group("images"))
    _add_training(parser.add_argument_group("training"))


def _add_images(images: argparse._ArgumentGroup) -> None:
    images.add_argument(
        "--val", type=float, default=0.15, metavar="SHARE", help="to choose the weights by (%(default)s)"
    )
    images.add_argument("--test", type=float, default=0.15, metavar="SHARE", help="measures, or 0 (%(default)s)")
    images.add_argument(
        "--max-broken", type=float, default=0.1, metavar="SHARE", help="of images that cannot be read (%(default)s)"
    )
    images.add_argument(
        "--task",
        choices=choices.TASKS,
        default=choices.TASKS[0],
        help="what a list tells: a class, several or none, a number (%(default)s)",
    )
    images.add_argument("--label-column", metavar="NAME", help="of a list, if its name does not tell")
    images.add_argument("--image-size", type=int, metavar="N", help="pixels a side (default: that of the weights)")
    images.add_argument(
        "--cache-side",
        type=int,
        metavar="N",
        help="training images are kept decoded, the shorter side N pixels at most; for large photographs, twice the "
        "image size",
    )
    images.add_argument(
        "--augment", choices=choices.AUGMENTS, default="crop", help="of training (default: %(default)s)"
    )
    images.add_argument(
        "--class-weights", choices=choices.CLASS_WEIGHTS, default="none", help="balanced: rare classes count as much"
    )
    images.add_argument("--sampling", choices=choices.SAMPLINGS, help="balanced: all classes come up equally often")


def _add_training(training: argparse._ArgumentGroup) -> None:
    training.add_argument("--loss", choices=choices.LOSSES, help="focal: sure answers count less (cross_entropy)")
    training.add_argument("--label-smoothing", type=float, metavar="SHARE", help="that all classes divide (0)")
    training.add_argument(
        "--blocks", type=_blocks, metavar="N|all", help="last blocks to train, 0 for the head alone (a third)"
    )
    training.add_argument("--minutes", type=float, metavar="N", help="for everything (5, or with --epochs no end)")
    training.add_argument("--epochs", type=int, metavar="N", help="at most (30, or 100; 1,000 steps at least)")
    training.add_argument(
        "--patience", type=int, metavar="N", help="epochs without a better one (5, or 15; 150 steps at least)"
    )
    training.add_argument("--batch-size", type=int, metavar="N", help="images a step (up to 32)")
    training.add_argument("--learning-rate", type=float, metavar="R", help="the highest (1e-4, or 5e-4; see --find-lr)")
    training.add_argument(
        "--layer-decay", type=float, metavar="F", help="of the rate from each block to the one before, such as 0.75 (1)"
    )
    training.add_argument(
        "--find-lr", action="store_true", help="train nothing; try rising learning rates and suggest one"
    )
    training.add_argument(
        "--seed", type=int, default=0, metavar="N", help="of everything random (default: %(default)s)"
    )
    training.add_argument(
        "--calibrate",
        action="store_true",
        default=None,
        help="put its probabilities right at the end, with the validation images",
    )
    training.add_argument(
        "--strategy", choices=choices.ON_ONE_MACHINE, default="auto", help="where (default: %(default)s)"
    )
    training.add_argument(
        "--backend",
        choices=choices.BACKENDS,
        default="tensorflow",
        help="tensorflow alone; see keras-nest train for jax",
    )
    training.add_argument("--log", choices=choices.TRACKERS, help="rows of the history go there, too")


def _blocks(text: str) -> int | str:
    """A number of blocks, or what shall be one, which is checked with the other decisions."""
    return int(text) if text.isdecimal() else text
