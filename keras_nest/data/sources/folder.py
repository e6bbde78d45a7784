"""Images in one folder a class."""

import logging
import os
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from keras_nest import buckets
from keras_nest.choices import BROKEN
from keras_nest.data.image_files import SUFFIXES, Convert, count_kinds, decodable_in_graph, is_clutter, is_image
from keras_nest.data.inspection import DAMAGED, EMPTY, LOST, NO_IMAGE, inspect
from keras_nest.data.orientation import UPRIGHT
from keras_nest.data.sources.base import DatasetInfo, IndexedExamples, Source
from keras_nest.places import as_place

TEST_SPLITS = ("test", "val", "validation")
_LAYOUT = "SPLIT/CLASS/image.jpg"
_MAX_NAMED = 10
_LOGGER = logging.getLogger(__name__)


class File(NamedTuple):
    """An image file, its class, its captions one a line or its row of numbers, and how it is to be turned."""

    path: str
    label: int | str | np.ndarray
    orientation: int = UPRIGHT


def open_folder(
    path: str | os.PathLike[str],
    train_split: str = "train",
    test_split: str | None = None,
    broken: str = "refuse",
    convert: Convert | None = None,
) -> Source:
    """Opens images that lie in `path/split/class/`.

    Files that end in one of `image_files.SUFFIXES` may be mixed: JPEG, PNG, GIF, BMP, TIFF and WebP. What else lies in
    the class folders is left out with a warning that counts it, folders too; hidden names, and those of systems such
    as __MACOSX, are passed over. Names are sorted, so that labels and the order of the images are the same everywhere.
    An image is turned as its EXIF orientation says.

    A file is broken if it is empty, cut off, no image, or has more than `image_files.MAX_PIXELS`. A JPEG file that was
    overwritten in the middle is not found to be broken, since decoders fill in what is missing.

    Args:
        path: the directory, local or any that `tf.io.gfile` opens.
        train_split: its sub-directory of training images; that one's sub-directories are the classes.
        test_split: its sub-directory of test images, with the same classes or fewer; None takes the first of
            `TEST_SPLITS` that is there.
        broken: what to do about broken files. "refuse" names them, "skip" leaves them out with a warning; for both,
            each file is decoded once now. "unchecked" does not look, and takes all images as upright.
        convert: as `keras_nest.data.image_files.decodable_in_graph` takes it.

    Returns:
        The data set; its images are read when they are needed.

    Raises:
        FileNotFoundError: there is no such directory or split.
        ValueError: there are broken files, a class without images, a class only in the test split, a name that is not
            UTF-8, an unknown value of `broken`, or an address that TensorFlow does not know.
    """
    check_broken(broken)
    root = os.fspath(path)
    as_place(root)  # refuses addresses that nothing here reads
    train_directory = _find_split(root, (train_split,))
    test_directory = _find_split(root, TEST_SPLITS if test_split is None else (test_split,))
    class_names = _class_names(train_directory)
    train = _list_images(train_directory, class_names)
    _check_not_empty(train_directory, train, class_names)
    test = _list_images(test_directory, class_names)
    _check_not_empty(test_directory, test)
    if broken != "unchecked":
        train, test = without_broken(train, test, broken, root)
        _check_not_empty(train_directory, train, class_names)
        _check_not_empty(test_directory, test)
    info = DatasetInfo(root, class_names, (None, None, 3), len(train), len(test))
    return Source(info, index_examples(train, convert), index_examples(test, convert))


# In the words of the doors one may have come through.
_SKIPPING = '--config.broken=skip in a training, --broken skip of `keras-nest data`, broken="skip" in Python'


def check_broken(broken: str) -> None:
    """Refuses what is none of `BROKEN`.

    Raises:
        ValueError: names them.
    """
    if broken not in BROKEN:
        raise ValueError(f"broken is {broken!r}; it must be one of {', '.join(map(repr, BROKEN))}.")


def _find_split(root: str, names: Sequence[str]) -> str:
    """The first of some sub-directories that is there."""
    if not buckets.is_dir(root):
        raise FileNotFoundError(f"There is no directory {root}; it is to hold images as {_LAYOUT}.")
    for name in names:
        directory = tf.io.gfile.join(root, name)
        if buckets.is_dir(directory):
            return directory
    raise FileNotFoundError(f"{root} has no sub-directory {' or '.join(names)}; images must lie as {_LAYOUT}.")


def names_in(directory: str) -> list[str]:
    """What lies in a directory, sorted and without what is hidden or a system's.

    Raises:
        ValueError: a name is not UTF-8.
    """
    try:
        names = buckets.list_dir(directory)
    except UnicodeDecodeError as error:
        raise ValueError(f"{directory} holds the name {error.object!r}, which is not UTF-8; rename it.") from error
    return sorted(name for name in names if not is_clutter(name))


def _class_names(directory: str) -> tuple[str, ...]:
    return tuple(name for name in names_in(directory) if buckets.is_dir(tf.io.gfile.join(directory, name)))


def _list_images(directory: str, class_names: Sequence[str]) -> list[File]:
    """Image files of a split; classes and the files of each are sorted."""
    labels = {name: label for label, name in enumerate(class_names)}
    present = _class_names(directory)
    if unknown := [name for name in present if name not in labels]:
        raise ValueError(f"{directory} has classes that the training images lack: {some_of(unknown)}.")
    beside = [name for name in names_in(directory) if name not in present and is_image(name)]
    files, left_out = [], [f"{count_kinds(beside)} beside the classes"] if beside else []
    for class_name in present:
        folder = tf.io.gfile.join(directory, class_name)
        names = names_in(folder)
        files += [File(f"{folder}/{name}", labels[class_name]) for name in names if is_image(name)]
        others = [name for name in names if not is_image(name)]
        # Only these are asked about, since remote storage takes its time.
        others = [f"{name}/" if buckets.is_dir(f"{folder}/{name}") else name for name in others]
        left_out += [f"{count_kinds(others)} in {class_name}"] if others else []
    if left_out:
        _LOGGER.warning(
            "Left out of %s, where images end in %s: %s.", directory, ", ".join(SUFFIXES), some_of(left_out)
        )
    return files


def _check_not_empty(directory: str, files: Sequence[File], class_names: Sequence[str] = ()) -> None:
    """Refuses a split without images, or with none of one of the classes."""
    if not files:
        raise ValueError(
            f"{directory} has no images ({', '.join(SUFFIXES)}) in class folders; they must lie as {_LAYOUT}."
        )
    labels = {file.label for file in files}
    if empty := [name for label, name in enumerate(class_names) if label not in labels]:
        raise ValueError(f"{directory} has classes without images: {some_of(empty)}. Add images or remove the folders.")


def without_broken(
    train: list[File], test: list[File], broken: str, root: str | os.PathLike[str]
) -> tuple[list[File], list[File]]:
    """Files that can be decoded, with their orientations.

    Args:
        train: training images.
        test: test images.
        broken: "refuse" or "skip".
        root: what they belong to, as for `inspect`.

    Raises:
        ValueError: some are broken, and `broken` is "refuse".
    """
    found = _inspect_all([file.path for file in train + test], root)
    if message := _broken_among(found):
        if broken == "refuse":
            raise ValueError(f"{message} Replace them, or leave them out: {_SKIPPING}.")
        _LOGGER.warning("%s They are left out.", message)

    def kept(files: list[File]) -> list[File]:
        orientations = ((file, found[file.path]) for file in files)
        return [file._replace(orientation=turned) for file, turned in orientations if isinstance(turned, int)]

    return kept(train), kept(test)


def check_images(paths: Sequence[str], root: str | os.PathLike[str]) -> None:
    """Refuses image files that cannot be decoded, all at once; `root` as for `inspect`.

    Raises:
        ValueError: names them.
    """
    if message := _broken_among(_inspect_all(paths, root)):
        raise ValueError(message)


def _broken_among(found: Mapping[str, int | str]) -> str:
    """What is wrong with files; empty where nothing is."""
    lost = [f"{path}{fault}" for path, fault in found.items() if isinstance(fault, str)]
    return f"{len(lost):,} of {len(found):,} files cannot be read as images: {some_of(lost)}." if lost else ""


def _inspect_all(paths: Sequence[str], root: str | os.PathLike[str]) -> dict[str, int | str]:
    """Orientation of each file; or in brackets what is wrong with it, if that is more than being broken."""
    _LOGGER.info("Decoding %s images once to find broken ones.", f"{len(paths):,}")
    usual = ("", EMPTY, LOST, DAMAGED, NO_IMAGE)
    return {
        path: (f" (it {seen.fault})" if seen.fault not in usual else "") if seen.fault else seen.orientation
        for path, seen in zip(paths, inspect(paths, root), strict=True)
    }


def index_examples(files: Sequence[File], convert: Convert | None = None) -> IndexedExamples:
    """Images that are read when they are needed; `convert` as `decodable_in_graph` takes it."""
    paths, labels, orientations = zip(*files, strict=True)
    read_file = tf.io.read_file
    if any(path.startswith(buckets.PREFIX) for path in paths):
        read_file = _read_anywhere

    def read(path: tf.Tensor) -> tf.Tensor:
        return decodable_in_graph(read_file(path), convert)

    found = np.array(labels, object) if isinstance(labels[0], str) else np.array(labels)
    return IndexedExamples(np.array(paths, object), found, np.array(orientations), read)


def _read_anywhere(path: tf.Tensor) -> tf.Tensor:
    """Content of a file, a string scalar; what everybody may read in buckets of Google comes over https."""

    def read(path: bytes | np.ndarray) -> bytes:
        # Outside of a graph it is an array.
        return b"".join(buckets.read(np.asarray(path).item().decode()))

    return tf.ensure_shape(tf.numpy_function(read, [path], tf.string), ())


def some_of(names: Sequence[str]) -> str:
    """The first of many names, and how many follow."""
    rest = len(names) - _MAX_NAMED
    return ", ".join(names[:_MAX_NAMED]) + (f" and {rest:,} more" if rest > 0 else "")
