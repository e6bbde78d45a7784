"""`python -m keras_nest`: the `keras-nest` command."""

import sys

from keras_nest.cli import main

if __name__ == "__main__":
    sys.exit(main())
