"""`python -m export` is `keras-nest export`."""

import sys

from keras_nest.cli import main

if __name__ == "__main__":
    sys.exit(main(["export", *sys.argv[1:]]))
