"""Images with captions, as CSV files list them."""

import os
import pathlib

from keras_nest.data.info import DatasetInfo
from keras_nest.data.pairs import TABLES, read_pairs
from keras_nest.data.sources.folder import TEST_SPLITS, File, check_broken, examples_of, without_broken
from keras_nest.data.sources.source import Source


def has_captions(path: str | os.PathLike[str], split: str) -> bool:
    """Whether a directory has a list of captions for a split: DIR/SPLIT.csv, .tsv, or one of `TABLES` in DIR/SPLIT."""
    return _table(path, split) is not None


def open_captions(
    path: str | os.PathLike[str], train_split: str = "train", test_split: str | None = None, broken: str = "refuse"
) -> Source:
    """Opens images with captions.

    An image with several captions comes up once an epoch, with one of them.

    Args:
        path: directory with two lists, as `keras_nest.data.pairs.read_pairs` reads them.
        train_split: name of that of the training images; see `has_captions`.
        test_split: name of that of the test images; None takes "test", "val" or "validation".
        broken: what to do about broken files, as for class folders.

    Raises:
        FileNotFoundError: there is no such list, or an image is not there.
        ValueError: a list cannot be read, there are broken files, or an unknown value of `broken`.
    """
    check_broken(broken)
    train = _files(path, (train_split,))
    test = _files(path, TEST_SPLITS if test_split is None else (test_split,))
    if broken != "unchecked":
        train, test = without_broken(train, test, broken)
    info = DatasetInfo(os.fspath(path), (), (None, None, 3), len(train), len(test))
    return Source(info, examples_of(train), examples_of(test))


def _table(path: str | os.PathLike[str], split: str) -> pathlib.Path | None:
    """The list of a split, if there is one."""
    root = pathlib.Path(path)
    places = (root / f"{split}.csv", root / f"{split}.tsv", *(root / split / name for name in TABLES))
    return next((place for place in places if place.is_file()), None)


def _files(path: str | os.PathLike[str], splits: tuple[str, ...]) -> list[File]:
    """Images of the first split that is there, each with all its captions."""
    tables = [table for split in splits if (table := _table(path, split))]
    if not tables:
        raise FileNotFoundError(
            f"{os.fspath(path)} has no captions of a split {' or '.join(splits)}; they must lie as SPLIT.csv or "
            f"SPLIT/{TABLES[0]}."
        )
    captions = read_pairs(tables[0]).captions
    return [File(str(image), "\n".join(texts)) for image, texts in captions.items()]
