"""Where labeled images come from: TFDS, class folders, tables, and the digits inside scikit-learn."""

import logging
import os
import pathlib

from keras_nest.data.checks import check_whole_number
from keras_nest.data.converted import Converted
from keras_nest.data.image_files import MAX_PIXELS
from keras_nest.data.sources import digits
from keras_nest.data.sources.base import ONLY_HOST, Example, Examples, Host, IndexedExamples, Source
from keras_nest.data.sources.folder import check_broken, open_folder
from keras_nest.data.sources.pairs import has_captions, open_captions
from keras_nest.data.sources.reduced import reduce_images
from keras_nest.data.sources.table import SUFFIX, open_table
from keras_nest.data.sources.tfds import open_tfds
from keras_nest.files import is_address

__all__ = ["ONLY_HOST", "Example", "Examples", "Host", "IndexedExamples", "Source", "open_source"]

_LOGGER = logging.getLogger(__name__)


def open_source(
    name: str | os.PathLike[str],
    train_split: str = "train",
    test_split: str | None = None,
    data_dir: str | None = None,
    shuffle_buffer: int = 4096,
    broken: str = "refuse",
    converted: pathlib.Path | None = None,
    cache_side: int | None = None,
) -> Source:
    """Finds a data set.

    Args:
        name: "digits"; a directory DIR with images in DIR/{train,test}/CLASS/; a table of images, FILE.csv with the
            columns file, class and part; or a data set of TFDS such as "cifar10", "imagenet2012" or
            "oxford_flowers102". For LiT also images with captions: a directory with lists
            DIR/{train,test}.csv or DIR/{train,test}/captions.csv, or a data set of TFDS such as "coco_captions".
        train_split: which part to train on; with TFDS also a part of a part such as "train[:98%]".
        test_split: which part to test on; None takes "test" or "validation", whichever there is.
        data_dir: where TFDS finds its data; None is TFDS's default.
        shuffle_buffer: images among which a large data set of TFDS is shuffled, beside its files; encoded, up to three
            times as many are in memory. Small ones, folders and the digits are shuffled as a whole.
        broken: what to do about files in folders that are not complete images: "refuse" tells their names, "skip"
            leaves them out and logs their names, "unchecked" does not look, which saves reading everything once.
        converted: folder in which images that TensorFlow does not decode, such as HEIC, are kept as it does, so that
            they are converted once and not every epoch; None keeps nothing. Those of TFDS are not kept.
        cache_side: training images are kept there decoded, each reduced until its shorter side has so many pixels at
            most, and 0 as they are; None decodes every image each time. For image files.

    Raises:
        ValueError: unknown name, broken files, empty classes, or options without meaning for the data set.
        FileNotFoundError: the data set is not there; how to get it is told.
        ModuleNotFoundError: the package that holds or reads the data is not installed.
    """
    source = _open(name, train_split, test_split, data_dir, shuffle_buffer, broken, converted)
    if cache_side is None:
        return source
    check_whole_number("cache_side", cache_side, 0)
    if converted is None:
        raise ValueError("cache_side needs converted, the folder in which images are kept.")
    return reduce_images(source, cache_side or MAX_PIXELS, converted)


def _open(
    name: str | os.PathLike[str],
    train_split: str,
    test_split: str | None,
    data_dir: str | None,
    shuffle_buffer: int,
    broken: str,
    converted: pathlib.Path | None,
) -> Source:
    path = os.path.expanduser(name)
    check_broken(broken)
    convert = Converted(converted) if converted else None
    if name == "digits":
        if os.path.isdir(os.path.join(path, train_split)):
            _LOGGER.warning("'digits' are those of scikit-learn; the directory of that name is './digits'.")
        if train_split != "train" or test_split not in (None, "test"):
            raise ValueError("The digits are divided once and for all; their splits are 'train' and 'test'.")
        return digits.open_digits()
    if path.endswith(SUFFIX) and not os.path.isdir(path):
        return open_table(path, train_split, test_split, broken, convert)
    # A name of TFDS may have a slash in it too.
    if os.path.isdir(path) or is_address(path) or path.startswith((".", os.sep)) or not isinstance(name, str):
        if has_captions(path, train_split):
            return open_captions(path, train_split, test_split, broken, convert)
        return open_folder(path, train_split, test_split, broken, convert)
    return open_tfds(name, train_split, test_split, data_dir, shuffle_buffer)
