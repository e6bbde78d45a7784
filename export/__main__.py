"""`python -m export`: see `export.cli`."""

import argparse
import sys

from export import cli
from keras_nest import console

if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m export", description=cli.DESCRIPTION)
    cli.add_arguments(parser)
    arguments = parser.parse_args()
    sys.exit(console.run(lambda: cli.main(arguments)))
