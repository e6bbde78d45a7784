"""Start-up of the command lines: TensorFlow's import notes stay hidden."""

import contextlib
import os
from collections.abc import Iterator


@contextlib.contextmanager
def quiet_start() -> Iterator[None]:
    """Hides the notes that TensorFlow writes to the standard error when it is imported, and later notes and warnings.

    They would bury the progress bar, or the one sentence that says what is wrong. TF_CPP_MIN_LOG_LEVEL alone does not
    reach what is written during the import; set it yourself to see the later ones.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    standard_error = os.dup(2)
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(standard_error, 2)
        os.close(standard_error)


def keras_nest() -> int:
    """The `keras-nest` command."""
    with quiet_start():
        from keras_nest import cli
    return cli.main()
