"""Images with captions, as CSV files list them: pairs, and data sets of them."""

import csv
import dataclasses
import os
from collections.abc import Iterator

from keras_nest.console import shorten
from keras_nest.data.image_files import Convert
from keras_nest.data.sources.base import DatasetInfo, Source
from keras_nest.data.sources.folder import TEST_SPLITS, File, check_broken, index_examples, without_broken
from keras_nest.places import Place, as_place, beside, text_lines

TABLES = ("captions.csv", "captions.txt", "metadata.csv")
"""Names of the list in a folder of images: those that Flickr8k and Hugging Face's image folders have, too."""
_IMAGE = ("image", "image_path", "filepath", "file_name", "filename")
_TEXT = ("caption", "text", "title")


@dataclasses.dataclass(frozen=True)
class Pairs:
    """Images and captions, one row a pair; an image may have several captions, and then comes up several times.

    Attributes:
        images: files.
        texts: captions, as many.
    """

    images: tuple[Place, ...]
    texts: tuple[str, ...]

    @property
    def captions(self) -> dict[Place, list[str]]:
        """All captions of each image, both in the order of the list."""
        captions: dict[Place, list[str]] = {}
        for image, text in zip(self.images, self.texts, strict=True):
            captions.setdefault(image, []).append(text)
        return captions


def read_pairs(path: str | os.PathLike[str]) -> Pairs:
    """Reads a list of images and captions.

    The list is a CSV file, or tab-separated where it ends in .tsv, in UTF-8. Its first row names the columns: `image`
    (or `file_name`, `filepath`) with files relative to the list, and `caption` (or `text`, `title`); others are left.

    Args:
        path: the list, or a folder with one of `TABLES` in it; local or an address.

    Raises:
        FileNotFoundError: there is no list, or one of its images is not there.
        ValueError: it has no such columns, no rows, a row with more or fewer of them, an empty caption, or is no text
            in UTF-8.
    """
    table = _find_table(as_place(path))
    delimiter = "\t" if table.suffix == ".tsv" else ","
    try:
        pairs = _read_rows(table, csv.reader(text_lines(table.read_bytes(), table), delimiter=delimiter, strict=True))
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{table} cannot be read as comma-separated values in UTF-8: {error}.") from None
    if not pairs.images:
        raise ValueError(f"{table} has no rows; each must have an image and a caption.")
    missing = [str(file) for file in dict.fromkeys(pairs.images) if not file.is_file()]
    if missing:
        raise FileNotFoundError(f"{table} names {len(missing)} images that are not there, such as {missing[0]}.")
    return pairs


def has_captions(path: str | os.PathLike[str], split: str) -> bool:
    """Whether a directory has a list of captions for a split: DIR/SPLIT.csv, .tsv, or one of `TABLES` in DIR/SPLIT."""
    return _table(path, split) is not None


def open_captions(
    path: str | os.PathLike[str],
    train_split: str = "train",
    test_split: str | None = None,
    broken: str = "refuse",
    convert: Convert | None = None,
) -> Source:
    """Opens images with captions.

    An image with several captions comes up once an epoch, with one of them.

    Args:
        path: directory with two lists, as `read_pairs` reads them.
        train_split: name of that of the training images; see `has_captions`.
        test_split: name of that of the test images; None takes "test", "val" or "validation".
        broken: what to do about broken files, as for class folders.
        convert: as `keras_nest.data.image_files.decodable_in_graph` takes it.

    Raises:
        FileNotFoundError: there is no such list, or an image is not there.
        ValueError: a list cannot be read, there are broken files, or an unknown value of `broken`.
    """
    check_broken(broken)
    train = _files(path, (train_split,))
    test = _files(path, TEST_SPLITS if test_split is None else (test_split,))
    if broken != "unchecked":
        train, test = without_broken(train, test, broken, path)
    info = DatasetInfo(os.fspath(path), (), (None, None, 3), len(train), len(test))
    return Source(info, index_examples(train, convert), index_examples(test, convert))


def _table(path: str | os.PathLike[str], split: str) -> Place | None:
    """The list of a split, if there is one."""
    root = as_place(path)
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


def _find_table(path: Place) -> Place:
    """The list itself."""
    tables = [path / name for name in TABLES] if path.is_dir() else [path]
    for table in tables:
        if table.is_file():
            return table
    among = f"it has none of {', '.join(TABLES)}" if path.is_dir() else "there is no such file"
    raise FileNotFoundError(f"{path} is to be a list of images and captions, but {among}.")


def _read_rows(table: Place, rows: Iterator[list[str]]) -> Pairs:
    header = next(rows, [])
    image, text = _columns(table, header)
    files: dict[str, Place] = {}
    images, texts = [], []
    for number, row in enumerate(rows, 2):
        if any(row):
            name, caption = _pair(table, number, row, len(header), image, text)
            if name not in files:
                files[name] = as_place(beside(table, name))
            images.append(files[name])
            texts.append(caption)
    return Pairs(tuple(images), tuple(texts))


def _columns(table: Place, header: list[str]) -> tuple[int, int]:
    """Where images and captions stand."""
    names = [name.strip().lower() for name in header]
    places = [next((names.index(name) for name in known if name in names), None) for known in (_IMAGE, _TEXT)]
    image, text = places
    if image is None or text is None:
        raise ValueError(
            f"{table} begins with the columns {shorten(', '.join(header), 500)}; it needs 'image' and 'caption'."
        )
    return image, text


def _pair(table: Place, number: int, row: list[str], columns: int, image: int, text: int) -> tuple[str, str]:
    if len(row) <= max(image, text):
        raise ValueError(f"Line {number} of {table} has {len(row)} columns, fewer than its first line.")
    if any(row[columns:]):
        raise ValueError(
            f"Line {number} of {table} has {len(row)} columns, more than its first line; a caption with commas must "
            "stand in quotation marks."
        )
    # A caption is one line; a table may break it.
    caption = " ".join(row[text].split())
    if not (row[image].strip() and caption):
        raise ValueError(f"Line {number} of {table} lacks the image or the caption.")
    return row[image].strip(), caption
