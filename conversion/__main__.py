"""`python -m conversion`: see `conversion.cli`."""

import argparse
import sys

from conversion import cli
from keras_nest import console

if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m conversion", description=cli.DESCRIPTION)
    cli.add_arguments(parser)
    arguments = parser.parse_args()
    sys.exit(console.run(lambda: cli.main(arguments)))
