"""Runs command lines one after the other in one process, so that TensorFlow is imported once for all of them.

python tests/shell.py < LIST_OF_LINES.json > LIST_OF_OUTPUTS.json

Published models are as narrow as those of tests/narrow.py.
"""

import contextlib
import io
import json
import runpy
import shlex
import sys

import keras_nest_start
from keras_nest.models.families import MODELS
from tests.narrow import narrowed


def output_of(line: str) -> str:
    """What `keras-nest …` or `python FILE …` prints; ends the process if it fails."""
    program, *arguments = shlex.split(line)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        if program == "python":
            sys.argv = arguments
            runpy.run_path(arguments[0], run_name="__main__")
        else:
            assert program == "keras-nest", line
            sys.argv = [program, *arguments]
            if code := keras_nest_start.main():
                sys.exit(f"{line} ended with {code}\n{printed.getvalue()[-2000:]}")
    return printed.getvalue()


if __name__ == "__main__":
    MODELS.update(narrowed())
    outputs = [output_of(line) for line in json.load(sys.stdin)]
    json.dump(outputs, sys.stdout)
