"""`keras-nest predict`: what a model takes images for."""

import argparse

from keras_nest.cli.answers import print_predictions
from keras_nest.predict.open import open_predictor


def main(args: argparse.Namespace) -> int:
    """Prints the most probable classes of each image; returns as `print_predictions` does.

    Raises:
        ValueError: the model is none that classifies, or an option is out of range.
        OSError: model or images are not there, or a picture exists.
        ModuleNotFoundError: pictures need matplotlib.
    """
    return print_predictions(args, lambda: open_predictor(args.model, args.weights, args.labels, args.trust))
