"""The tables of classes: one line for each, its WordNet id and its name, in the order of the published heads.

A name is the first word of the WordNet 3.0 synset. Where classes share it, whatever the case of its letters, what kind
of thing it is stands behind it ("crane (wading bird)"), then in front of that a second word, and last the id.
"""

import functools
import importlib.resources
from typing import NamedTuple

# Data sets by number of classes. That of 21,843 is what Google's ImageNet-21k heads answer with, two classes more than
# the release of fall 2011 has.
_DATASETS = {1000: "imagenet2012", 21843: "imagenet21k"}


class ImageNetClass(NamedTuple):
    """A class of ImageNet.

    Attributes:
        wnid: "n" and the offset of its synset in WordNet 3.0.
        name: unlike all other names of the data set.
    """

    wnid: str
    name: str


def find_dataset(num_classes: int) -> str | None:
    """The data set that has so many classes: "imagenet2012", "imagenet21k", or None."""
    return _DATASETS.get(num_classes)


@functools.cache
def read_classes(dataset: str) -> tuple[ImageNetClass, ...]:
    """All classes of a data set, in the order of the logits.

    Args:
        dataset: "imagenet2012" (1000 classes) or "imagenet21k" (21,843).

    Raises:
        ValueError: another data set.
    """
    if dataset not in _DATASETS.values():
        raise ValueError(f"dataset is {dataset!r}; it must be one of {', '.join(map(repr, _DATASETS.values()))}.")
    table = importlib.resources.files("keras_nest.imagenet") / f"{dataset}.tsv"
    lines = table.read_text("utf-8").splitlines()
    return tuple(ImageNetClass(*line.split("\t")) for line in lines)
