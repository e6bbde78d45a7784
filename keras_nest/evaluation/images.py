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
from keras_nest.data.host import with_own_threads
from keras_nest.data.sources import ONLY_HOST, Source, open_source
from keras_nest.data.sources.base import decode
from keras_nest.data.sources.folder import TEST_SPLITS, names_in
from keras_nest.data.sources.table import read_table
from keras_nest.files import is_address
from keras_nest.finetune.labels import PARTS, Place
from keras_nest.finetune.listing import LAYOUTS, list_folder, list_table
from keras_nest.finetune.metadata import TABLES
from keras_nest.opening import read_json
from keras_nest.places import as_place, beside, is_dir, telling_addresses
from keras_nest.predict.images import read_image
from keras_nest.run_files import CONFIG, IMAGES, METRICS
from keras_nest.targets import ONE_CLASS, SINGLE_LABEL, Target
from keras_nest.training.plan import source_options
from keras_nest.untrusted.json_text import fields_of

Tell: TypeAlias = Callable[[str], None]
"""Is given a sentence on each image that cannot be read."""

_NUMBERED = "image "  # and its number, of an image that is no file


class LabeledImage(NamedTuple):
    """An image and what it shows.

    Attributes:
        name: its path, or in a data set its number.
        label: name of its class, or what else is told, as `keras_nest.targets` has it.
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
        labels: names of the classes that they are of; of a regression that of the number.
        count: how many there are, those that cannot be read among them.
        read: gives them one after another.
        find: gives the pixels of some of them, by name.
        target: what is told of an image.
    """

    name: str
    part: str
    labels: tuple[str, ...]
    count: int
    read: Callable[[Tell], Iterator[LabeledImage]]
    find: Callable[[Sequence[str]], list[np.ndarray]]
    target: Target = ONE_CLASS


def open_images(
    name: str,
    split: str | None = None,
    data_dir: str | None = None,
    label_column: str | None = None,
    task: str = SINGLE_LABEL,
) -> LabeledImages:
    """Finds labeled images.

    Args:
        name: a folder, `name/CLASS/*` or `name/{train,val,test}/CLASS/*` or with a list metadata.csv; a list of files
            and classes, FILE.csv, .tsv or .jsonl; or a data set as `keras_nest.data.open_source` takes it.
        split: which part; None takes the first of "test", "val" and "validation" that is there, and all of a folder
            without parts.
        data_dir: where TFDS finds its data.
        label_column: of a list, the column of the classes or numbers, if its name does not tell.
        task: one of `keras_nest.choices.TASKS`, what is told of an image; other than one class only lists tell.

    Raises:
        FileNotFoundError: there is nothing of this name, or no such part.
        ValueError: there are no images, or they have no classes.
        ModuleNotFoundError: the package that reads the data set is not installed.
    """
    path = os.path.expanduser(name)
    if path.lower().endswith(TABLES) and not is_dir(path):
        return _of_table(path, split, label_column, task)
    if is_dir(path):
        return _of_folder(path, split, label_column, task)
    if task != SINGLE_LABEL:
        raise ValueError(f"{name} is no list, and only a list tells {task}; give one such as FILE.csv.")
    if name.startswith((".", os.sep)) or is_address(name):
        raise FileNotFoundError(f"There is no folder or table {name}; {LAYOUTS}")
    return _of_source(open_source(name, "train", split, data_dir), split)


@telling_addresses()
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
    with fields_of(folder / CONFIG):
        config = ConfigDict(read_json(folder / CONFIG))
        options = source_options(config)
        split = split or options["test_split"]
        config.dataset = os.fspath(config.dataset)
    if as_place(os.path.expanduser(config.dataset)).exists():
        # With the names of their files.
        return open_images(config.dataset, split)
    return _of_source(open_source(config.dataset, **{**options, "test_split": split}), split)


def _of_folder(folder: str, split: str | None, label_column: str | None, task: str) -> LabeledImages:
    """Images as a fine-tuning finds them; of folders of parts without one for training, those of one part."""
    listing = list_folder(folder, label_column, task)
    places = listing.places
    folders = [name for name in names_in(folder) if is_dir(f"{folder}/{name}")]
    if folders and set(folders) <= set(TEST_SPLITS) and not any(place.part for place in places):
        part = split or next(name for name in TEST_SPLITS if name in folders)
        places = tuple(place._replace(part=part) for place in list_folder(f"{folder}/{part}").places)
    return _of_places(folder, places, split, listing.target)


def _of_table(path: str, split: str | None, label_column: str | None = None, task: str = SINGLE_LABEL) -> LabeledImages:
    """Images of a table as a fine-tuning leaves it, or of another list as it takes it."""
    try:
        rows, target = read_table(path)
    except ValueError:
        listing = list_table(path, label_column, task)
        return _of_places(path, listing.places, split, listing.target)
    # Rows without a part are left out, for the reason that stands there.
    return _of_places(
        path, [Place(beside(path, row.file), row.label, row.part) for row in rows if row.part], split, target
    )


def _of_places(name: str, places: Sequence[Place], split: str | None, target: Target) -> LabeledImages:
    """Those of one part; all, where nothing is divided."""
    there = dict.fromkeys(place.part for place in places if place.part)
    wanted = (split, PARTS.get(split.lower(), split)) if split else TEST_SPLITS if there else ("",)
    part = next((each for each in wanted if each in there or not each), None)
    if part is None:
        known = ", ".join(there) or "none"
        raise ValueError(f"{name} has no images in part {split or ' or '.join(wanted)}; its parts are {known}.")
    files = [(place.path, place.label) for place in places if place.part == part]
    if not files:
        raise ValueError(f"{name} has no images with classes; {LAYOUTS}")
    return _of_files(name, part, files, target)


def _of_files(name: str, part: str, files: Sequence[tuple[str, str]], target: Target) -> LabeledImages:
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

    labels = target.class_names(label for _, label in files)
    return LabeledImages(
        name, part, labels, len(files), read, lambda names: [read_image(name) for name in names], target
    )


def _read(file: tuple[str, str]) -> np.ndarray | str:
    """Pixels of a file, or a sentence that says what is wrong with it."""
    path, _ = file
    try:
        return read_image(path)
    except ValueError as error:
        return str(error)
    except OSError as error:
        # At addresses it is a sentence already.
        return f"{printable(path)} cannot be read: {error.strerror}." if error.strerror else str(error)


def _of_source(source: Source, split: str | None) -> LabeledImages:
    info = source.info
    if info.has_captions:
        raise ValueError(f"{info.name} has captions and no classes; `keras-nest zero-shot --captions` measures those.")

    def read(tell: Tell) -> Iterator[LabeledImage]:
        decoded = source.test.in_order(ONLY_HOST).map(lambda example: (decode(example), example.label))
        for number, (pixels, label) in enumerate(with_own_threads(decoded.prefetch(tf.data.AUTOTUNE))):
            yield LabeledImage(f"{_NUMBERED}{number}", info.class_names[int(label)], pixels.numpy())

    def find(names: Sequence[str]) -> list[np.ndarray]:
        numbers = [int(name.removeprefix(_NUMBERED)) for name in names]
        there = sorted(set(numbers))
        numbered = source.test.in_order(ONLY_HOST).enumerate().take(there[-1] + 1 if there else 0)
        wanted = numbered.filter(lambda number, example: tf.reduce_any(number == tf.constant(there, tf.int64)))
        pixels = dict(zip(there, (decode(example).numpy() for _, example in wanted), strict=True))
        return [pixels[number] for number in numbers]

    return LabeledImages(info.name, split or "test", info.class_names, len(source.test), read, find)
