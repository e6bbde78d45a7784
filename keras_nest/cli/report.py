"""`keras-nest report`: the report of a run, written once more."""

import argparse

import keras

from keras_nest.console import printable
from keras_nest.report.write import report_run


def main(args: argparse.Namespace) -> int:
    """Measures the model of a run and writes report.html beside it.

    Raises:
        ValueError: the model is none that classifies images.
        OSError: it is no directory of a finished training, or its images are not there any more.
    """
    if args.trust:
        keras.config.enable_unsafe_deserialization()
    print(f"The report is {printable(report_run(args.run, args.trust))}.", flush=True)
    return 0
