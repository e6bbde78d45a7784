"""Class names and the sentences that they are put into."""

import collections
import os
import re
from collections.abc import Sequence

from keras_nest.files import read_lines

PLAIN = ("{}",)
"""Labels as they are."""

PHOTO = ("a photo of a {}",)
"""For labels that are names, such as those of data sets."""


def read_templates(path: str | os.PathLike[str]) -> tuple[str, ...]:
    """Templates from a text file, one a line; empty lines do not count.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no text in UTF-8, is empty, or has a line without `{}`.
    """
    templates = [line for line in read_lines(path, "template") if line.strip()]
    if not templates:
        raise ValueError(f"{path} is empty; it must hold one template a line, such as 'a photo of a {{}}'.")
    return check_templates(templates)


def check_templates(templates: Sequence[str]) -> tuple[str, ...]:
    """Templates that have room for a label.

    Raises:
        ValueError: there are none, or one lacks `{}`.
    """
    templates = _texts(templates, "templates")
    lacking = [template for template in templates if "{}" not in template]
    if lacking:
        raise ValueError(f"The template {lacking[0]!r} has no {{}}, where the label goes: 'a photo of a {{}}'.")
    return templates


def check_labels(labels: Sequence[str]) -> tuple[str, ...]:
    """Labels that can be told apart.

    Raises:
        ValueError: there are none, or some twice.
    """
    labels = _texts(labels, "labels")
    repeated = [label for label, count in collections.Counter(labels).items() if count > 1]
    if repeated:
        names = ", ".join(map(repr, repeated))
        raise ValueError(f"There is more than one label {names}; each class must have a label of its own.")
    return labels


def labels_of(class_names: Sequence[str]) -> tuple[str, ...]:
    """Class names of a data set as texts: "golden_retriever" becomes "golden retriever".

    Raises:
        ValueError: they are numbers of WordNet, as those of ImageNet.
    """
    if all(re.fullmatch(r"n\d{8}", name) for name in class_names):
        raise ValueError(
            f"The classes of the data set are numbers such as {class_names[0]}, which say nothing; give their names "
            "in the same order (--labels-file, or class_texts of a training)."
        )
    return tuple(name.replace("_", " ") for name in class_names)


def _texts(texts: Sequence[str], what: str) -> tuple[str, ...]:
    if isinstance(texts, str):
        raise ValueError(f"The {what} are the text {texts!r}; they must be a list of texts.")
    if not len(texts):
        raise ValueError(f"There are no {what}; there must be one at least.")
    if strange := [text for text in texts if not isinstance(text, str)]:
        raise ValueError(
            f"Among the {what} is {strange[0]!r}, which is no text; write {str(strange[0])!r} if it is one."
        )
    return tuple(map(str, texts))
