"""Names of the classes of a model, from text files or lists: one for each class, in the order of the logits."""

import os
from collections.abc import Sequence

from keras_nest.places import read_lines


def read_class_names(path: str | os.PathLike[str], num_classes: int) -> tuple[str, ...]:
    """Class names from a text file, one a line.

    Args:
        path: the file, UTF-8.
        num_classes: how many there must be.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no text, or holds another number of names.
    """
    return check_class_names(read_lines(path, "class name"), num_classes, f"{path} has")


def check_class_names(names: Sequence[str], num_classes: int, what: str = "There are") -> tuple[str, ...]:
    """Class names, if there is one for each class.

    Args:
        names: in the order of the logits.
        num_classes: of the model.
        what: begins the message.

    Raises:
        ValueError: says both numbers.
    """
    if len(names) != num_classes:
        raise ValueError(f"{what} {len(names)} class names for {num_classes} classes; there must be one for each.")
    return tuple(names)
