"""Labeled images to measure a model with: a folder, a table, a data set, or those of a training."""

import dataclasses
import multiprocessing.pool
import os
import pathlib
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, TypeAlias

import numpy as np
import tensorflow as tf
from ml_collections import ConfigDict

from keras_nest.console import printable
from keras_nest.data.image_files import begins_as_image, is_image
from keras_nest.data.sources import ONLY_HOST, Source, open_source
from keras_nest.data.sources.base import decode
from keras_nest.data.sources.folder import TEST_SPLITS, names_in
from keras_nest.data.sources.table import SUFFIX, read_table
from keras_nest.files import check_local
from keras_nest.opening import read_json
from keras_nest.predict.images import read_image
from keras_nest.run_files import CONFIG, IMAGES, METRICS
from keras_nest.training.plan import source_options

Tell: TypeAlias = Callable[[str], None]
"""Is given a sentence on each image that cannot be read."""

_NUMBERED = "image "  # and its number, of an image that is no file
_LAYOUTS = "images must lie as FOLDER/CLASS/image.jpg or FOLDER/{train,val,test}/CLASS/image.jpg."


class LabeledImage(NamedTuple):
    """An image and what it shows.

    Attributes:
        name: its path, or in a data set its number.
        label: name of its class.
        pixels: uint8 (h, w, 3).
    """

    name: str
    label: str
    pixels: np.ndarray


@dataclasses.dataclass(frozen=True)
class LabeledImages:
    """Images whose classes are known.

    Attributes:
        name: of the folder, table or data set.
        part: which of its parts; "" where it has none.
        labels: names of the classes that they are of.
        count: how many there are, those that cannot be read among them.
        read: gives them one after another.
        find: gives the pixels of some of them, by name.
    """

    name: str
    part: str
    labels: tuple[str, ...]
    count: int
    read: Callable[[Tell], Iterator[LabeledImage]]
    find: Callable[[Sequence[str]], list[np.ndarray]]


def open_images(name: str, split: str | None = None, data_dir: str | None = None) -> LabeledImages:
    """Finds labeled images.

    Args:
        name: a folder, `name/CLASS/*` or `name/{train,val,test}/CLASS/*`; a table of images, FILE.csv as
            `keras_nest.data.sources.table.read_table` takes it; or a data set as `keras_nest.data.open_source` does.
        split: which part; None takes the first of "test", "val" and "validation" that is there, and all of a folder
            without parts.
        data_dir: where TFDS finds its data.

    Raises:
        FileNotFoundError: there is nothing of this name, or no such part.
        ValueError: there are no images, or they have no classes.
        ModuleNotFoundError: the package that reads the data set is not installed.
    """
    path = os.path.expanduser(name)
    if path.endswith(SUFFIX) and not os.path.isdir(path):
        return _of_table(path, split)
    if os.path.isdir(path):
        return _of_folder(path, split)
    if name.startswith((".", os.sep)):
        check_local(name)
        raise FileNotFoundError(f"There is no folder or table {name}; {_LAYOUTS}")
    return _of_source(open_source(name, "train", split, data_dir), split)


def images_of_run(workdir: str | os.PathLike[str], split: str | None = None) -> LabeledImages:
    """The images that a training was measured with, as its directory tells them.

    Args:
        workdir: directory of a finished training.
        split: which part of its data set; None takes the one that was measured.

    Raises:
        FileNotFoundError: it does not tell them, or they are not there.
        ValueError: as `open_images`.
    """
    folder = pathlib.Path(workdir)
    if (folder / IMAGES).is_file():
        return _of_table(str(folder / IMAGES), split or read_json(folder / METRICS).get("part"))
    if not (folder / CONFIG).is_file():
        raise FileNotFoundError(f"{folder} does not tell which images it was measured with; give some with --data.")
    config = ConfigDict(read_json(folder / CONFIG))
    options = source_options(config)
    split = split or options["test_split"]
    if os.path.exists(os.path.expanduser(config.dataset)):
        # With the names of their files.
        return open_images(config.dataset, split)
    return _of_source(open_source(config.dataset, **{**options, "test_split": split}), split)


def _of_folder(folder: str, split: str | None) -> LabeledImages:
    """Images as `FOLDER/CLASS/*`, or below the folder of a part."""
    names = _folders(folder)
    # Beside training images, or alone, these names are parts; among others they are classes.
    is_divided = bool(names) and (set(names) <= set(TEST_SPLITS) or ("train" in names and _folders(f"{folder}/train")))
    wanted = (split,) if split else TEST_SPLITS if is_divided else ("",)
    part = next((name for name in wanted if not name or name in names), None)
    if part is None:
        there = ", ".join(names) or "none"
        raise FileNotFoundError(f"{folder} has no part {' or '.join(wanted)}; the folders in it are {there}.")
    root = f"{folder}/{part}" if part else folder
    files = [(f"{root}/{label}/{name}", label) for label in _folders(root) for name in _images(f"{root}/{label}")]
    if not files:
        raise ValueError(f"{root} has no images in folders of classes; {_LAYOUTS}")
    return _of_files(folder, part, files)


def _folders(folder: str) -> list[str]:
    return [name for name in names_in(folder) if os.path.isdir(f"{folder}/{name}")]


def _images(folder: str) -> list[str]:
    """Names of image files, which their content tells where the name does not."""
    files = (name for name in names_in(folder) if os.path.isfile(f"{folder}/{name}"))
    return [name for name in files if is_image(name) or begins_as_image(f"{folder}/{name}")]


def _of_table(path: str, split: str | None) -> LabeledImages:
    """The rows of one part of a table."""
    rows = read_table(path)
    there = dict.fromkeys(row.part for row in rows if row.part)
    part = next((name for name in ((split,) if split else TEST_SPLITS) if name in there), None)
    if part is None:
        known = ", ".join(there) or "none"
        raise ValueError(f"{path} has no images in part {split or ' or '.join(TEST_SPLITS)}; its parts are {known}.")
    folder = os.path.dirname(path)
    return _of_files(path, part, [(os.path.join(folder, row.file), row.label) for row in rows if row.part == part])


def _of_files(name: str, part: str, files: Sequence[tuple[str, str]]) -> LabeledImages:
    def read(tell: Tell) -> Iterator[LabeledImage]:
        # As many at once as are read at once, so that no more lie in the memory.
        step = os.cpu_count() or 1
        with multiprocessing.pool.ThreadPool(step) as pool:
            for start in range(0, len(files), step):
                some = files[start : start + step]
                for (path, label), found in zip(some, pool.map(_read, some), strict=True):
                    if isinstance(found, str):
                        tell(found)
                    else:
                        yield LabeledImage(path, label, found)

    labels = tuple(sorted({label for _, label in files}))
    return LabeledImages(name, part, labels, len(files), read, lambda names: [read_image(name) for name in names])


def _read(file: tuple[str, str]) -> np.ndarray | str:
    """Pixels of a file, or a sentence that says what is wrong with it."""
    path, _ = file
    try:
        return read_image(path)
    except ValueError as error:
        return str(error)
    except OSError as error:
        return f"{printable(path)} cannot be read: {error.strerror}."


def _of_source(source: Source, split: str | None) -> LabeledImages:
    info = source.info
    if info.has_captions:
        raise ValueError(f"{info.name} has captions and no classes; `keras-nest zero-shot --captions` measures those.")

    def read(tell: Tell) -> Iterator[LabeledImage]:
        decoded = source.test.in_order(ONLY_HOST).map(lambda example: (decode(example), example.label))
        for number, (pixels, label) in enumerate(decoded.prefetch(tf.data.AUTOTUNE)):
            yield LabeledImage(f"{_NUMBERED}{number}", info.class_names[int(label)], pixels.numpy())

    def find(names: Sequence[str]) -> list[np.ndarray]:
        numbers = [int(name.removeprefix(_NUMBERED)) for name in names]
        there = sorted(set(numbers))
        numbered = source.test.in_order(ONLY_HOST).enumerate().take(there[-1] + 1 if there else 0)
        wanted = numbered.filter(lambda number, example: tf.reduce_any(number == tf.constant(there, tf.int64)))
        pixels = dict(zip(there, (decode(example).numpy() for _, example in wanted), strict=True))
        return [pixels[number] for number in numbers]

    return LabeledImages(info.name, split or "test", info.class_names, len(source.test), read, find)
