"""`python -m conversion` is `keras-nest convert`; `python -m conversion augreg` is `keras-nest augreg`."""

import sys

from keras_nest.cli import main

if __name__ == "__main__":
    words = sys.argv[1:]
    sys.exit(main(words if words[:1] == ["augreg"] else ["convert", *words]))
