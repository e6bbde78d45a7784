"""`python -m conversion`: see `conversion.cli`, and for `python -m conversion augreg` `conversion.augreg_cli`."""

import argparse
import sys

from conversion import augreg_cli, cli
from keras_nest import console

if __name__ == "__main__":
    is_augreg = sys.argv[1:2] == ["augreg"]
    command = augreg_cli if is_augreg else cli
    program = "python -m conversion augreg" if is_augreg else "python -m conversion"
    parser = argparse.ArgumentParser(prog=program, description=command.DESCRIPTION)
    command.add_arguments(parser)
    arguments = parser.parse_args(sys.argv[2 if is_augreg else 1 :])
    sys.exit(console.run(lambda: command.main(arguments)))
