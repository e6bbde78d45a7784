"""What TensorFlow raises when it cannot write, as Python raises it."""

import contextlib
import re
from collections.abc import Iterator

import tensorflow as tf


@contextlib.contextmanager
def writing(what: str) -> Iterator[None]:
    """Tells in a sentence what cannot be written, and why.

    Args:
        what: is written in the block.

    Raises:
        OSError: the disk does not take it.
    """
    try:
        yield
    except (tf.errors.OpError, OSError) as error:
        # TensorFlow says an operation and a path before what is wrong, and the operation again after it.
        reason = getattr(error, "strerror", None) or re.sub(r"^.*; | \[Op:.*$", "", str(error).splitlines()[0])
        raise OSError(f"{what} cannot be written: {reason}.") from error
