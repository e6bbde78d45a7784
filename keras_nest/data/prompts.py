"""Prompts of zero-shot classification: class names, the sentences that they are put into, and their embeddings."""

import collections
import os
import re
from collections.abc import Callable, Iterable, Sequence
from typing import TypeAlias

import numpy as np

from keras_nest.places import read_lines

Progress: TypeAlias = Callable[[range, str], Iterable[int]]
"""Steps and what they do -> the same steps, while something is shown."""

TEXTS = 256
"""How many texts are embedded at a time."""

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


def unique_labels(class_names: Sequence[str]) -> tuple[str, ...]:
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


def silent(steps: range, what: str) -> Iterable[int]:
    """A `Progress` that shows nothing."""
    return steps


def embed_classes(
    embed: Callable[[range], np.ndarray], class_of: Sequence[int] | np.ndarray, progress: Progress = silent
) -> np.ndarray:
    """Embeddings of classes: the L2-normalized average of the embeddings of each class's texts.

    Sources: Radford et al., "Learning Transferable Visual Models From Natural Language Supervision" (CLIP), section
    3.1.4; LiT reference, `lit.ipynb`.

    Args:
        embed: numbers of texts, `TEXTS` at most -> their embeddings, float32 (n, C), L2-normalized.
        class_of: integers (T,), the class of each text; each class has one or more.
        progress: is shown meanwhile.

    Returns:
        float32 (K, C).

    Raises:
        ValueError: there are no texts.
    """
    class_of = np.asarray(class_of, np.int64)
    counts = np.bincount(class_of).astype(np.float32)
    means: np.ndarray | None = None
    for start in progress(range(0, len(class_of), TEXTS), "embedding labels"):
        numbers = range(start, min(start + TEXTS, len(class_of)))
        found, classes = embed(numbers), class_of[numbers.start : numbers.stop]
        means = np.zeros((len(counts), found.shape[1])) if means is None else means
        np.add.at(means, classes, found / counts[classes, None])
    if means is None:
        raise ValueError("There are no texts; each class must have one at least.")
    return (means / (np.linalg.norm(means, axis=1, keepdims=True) + 1e-8)).astype(np.float32)


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
