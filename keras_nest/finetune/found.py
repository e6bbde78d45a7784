"""What lies in a folder of photographs: which images of which classes, and what is left out for which reason."""

import collections
import dataclasses
import multiprocessing.pool
import os
import warnings
from collections.abc import Iterator, Sequence

import numpy as np
import tensorflow as tf
from rich.progress import track

from keras_nest.console import console
from keras_nest.data.decoding import decode_upright
from keras_nest.data.image_files import begins_as_image, count_kinds, is_image, read_encoded
from keras_nest.data.orientation import read_orientation
from keras_nest.data.sources.folder import names_in, some_of
from keras_nest.files import check_local

PARTS = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
"""Names of the folders of a data set that is split already, and the parts that they are."""

_LAYOUTS = "images must lie as FOLDER/CLASS/image.jpg or FOLDER/{train,val,test}/CLASS/image.jpg."
_THUMBNAIL = 8  # pixels a side
_PROGRESS_FROM = 500  # files; fewer are looked at before anyone wonders


@dataclasses.dataclass(frozen=True)
class Place:
    """A file that may be an image.

    Attributes:
        path: of the file.
        label: name of its class.
        part: "train", "val" or "test" as the folders say; "" where they say nothing.
    """

    path: str
    label: str
    part: str


@dataclasses.dataclass(frozen=True, eq=False)
class Photo:
    """An image that can be read.

    Attributes:
        place: where it lies.
        size: bytes of the file.
        orientation: how it is to be turned, 1 to 8 as EXIF counts.
        height: in pixels, upright.
        width: likewise.
        thumbnail: uint8 (8, 8, 3), upright.
    """

    place: Place
    size: int
    orientation: int
    height: int
    width: int
    thumbnail: np.ndarray


@dataclasses.dataclass(frozen=True)
class Found:
    """What lies in a folder.

    Attributes:
        root: the folder.
        photos: images, sorted by path.
        broken: images that cannot be read, and why.
        others: what is no image, in words, one for each folder: "1 .txt in cats".
        empty: classes without an image.
    """

    root: str
    photos: tuple[Photo, ...]
    broken: tuple[tuple[Place, str], ...]
    others: tuple[str, ...]
    empty: tuple[str, ...]

    @property
    def class_names(self) -> tuple[str, ...]:
        """Classes with images, sorted."""
        return tuple(sorted({photo.place.label for photo in self.photos}))

    @property
    def is_split(self) -> bool:
        """Whether the folders say which images are for what."""
        return any(photo.place.part for photo in self.photos)


def look(root: str | os.PathLike[str], max_broken: float = 0.1) -> Found:
    """Looks at every file of a folder once.

    What an image is, its content decides. Hidden files and those of systems, such as __MACOSX, are passed over.

    Args:
        root: with a folder for each class, or with folders train, val (or valid, validation) and test of such.
        max_broken: largest share of the images that may be broken.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: there are no folders of classes, fewer than two classes, too many broken images, or a name that
            cannot be one.
    """
    check_local(root)
    folder = os.path.expanduser(root)
    if not os.path.isdir(folder):
        raise FileNotFoundError(f"There is no folder {folder}; {_LAYOUTS}")
    places, others, labels = _list(folder)
    photos, broken = _examine(places)
    if len(broken) > max_broken * len(places):
        raise ValueError(
            f"{len(broken):,} of {len(places):,} images cannot be read, and --max-broken allows a share of "
            f"{max_broken}: {some_of([f'{place.path} {reason}' for place, reason in broken])}."
        )
    filled = {photo.place.label for photo in photos}
    if len(filled) < 2:
        known = f"images of one class, {min(filled)!r}" if filled else "no images in folders of classes"
        raise ValueError(f"{folder} has {known}; a classifier needs two classes or more, and {_LAYOUTS}")
    return Found(folder, photos, broken, others, tuple(sorted(labels - filled)))


def list_sizes(root: str | os.PathLike[str]) -> dict[str, int]:
    """Bytes of the files in a folder that may be images, by absolute path; none of a folder that is not there."""
    folder = os.path.expanduser(root)
    places = _list(folder)[0] if os.path.isdir(folder) else []
    return {os.path.abspath(place.path): os.stat(place.path).st_size for place in places}


def _list(folder: str) -> tuple[list[Place], tuple[str, ...], set[str]]:
    """Files that may be images, what is none, and the names of all classes."""
    names, folders = _divide(folder)
    train = next((name for name in folders if PARTS.get(name.lower()) == "train"), None)
    if train is None or not _divide(f"{folder}/{train}")[1]:
        # No folder of training images, or one of images: a class of that name.
        places, others, labels = _list_classes(folder, "")
        return places, others, labels
    kept = [name for name in folders if name.lower() in PARTS]
    left = [*names, *(f"{name}/" for name in folders if name not in kept)]
    places, labels = [], set()
    told = [f"{count_kinds(left)} beside {', '.join(kept)}"] if left else []
    for name in kept:
        found, others, known = _list_classes(f"{folder}/{name}", PARTS[name.lower()])
        places += found
        told += [f"{what} ({name})" for what in others]
        labels |= known
    return places, tuple(told), labels


def _list_classes(folder: str, part: str) -> tuple[list[Place], tuple[str, ...], set[str]]:
    """The same of a folder of classes."""
    names, labels = _divide(folder)
    told = [f"{count_kinds(names)} beside the classes"] if names else []
    places = []
    for label in labels:
        if {"\n", "\r"} & set(label):
            raise ValueError(f"{folder} has a class {label!r}, a name of more than one line; rename the folder.")
        inside, deeper = _divide(f"{folder}/{label}")
        images = [name for name in inside if is_image(name) or begins_as_image(f"{folder}/{label}/{name}")]
        places += [Place(f"{folder}/{label}/{name}", label, part) for name in images]
        left = [*(name for name in inside if name not in set(images)), *(f"{name}/" for name in deeper)]
        told += [f"{count_kinds(left)} in {label}"] if left else []
    return places, tuple(told), set(labels)


def _divide(folder: str) -> tuple[list[str], list[str]]:
    """Names of files and of folders."""
    names = names_in(folder)
    folders = [name for name in names if os.path.isdir(f"{folder}/{name}")]
    return [name for name in names if name not in set(folders)], folders


def _examine(places: Sequence[Place]) -> tuple[tuple[Photo, ...], tuple[tuple[Place, str], ...]]:
    """Images that can be read, and those that cannot with the reason."""
    photos, broken = [], []
    with warnings.catch_warnings():
        # Pillow warns about EXIF data that it can still read in part.
        warnings.simplefilter("ignore")
        for place, found in zip(places, _results(places), strict=True):
            if isinstance(found, str):
                broken.append((place, found))
            else:
                photos.append(found)
    return tuple(photos), tuple(broken)


def _results(places: Sequence[Place]) -> Iterator[Photo | str]:
    hidden = len(places) < _PROGRESS_FROM or not console.is_terminal
    with multiprocessing.pool.ThreadPool() as pool:
        results = pool.imap(_read, places)
        yield from track(results, "Looking at the images", len(places), console=console, transient=True, disable=hidden)


def _read(place: Place) -> Photo | str:
    """An image, or what is wrong with it."""
    try:
        size = os.stat(place.path).st_size
        if not size:
            return "is empty"
        encoded = read_encoded(place.path)
        orientation = read_orientation(encoded)
        pixels = decode_upright(tf.constant(encoded), orientation)
        thumbnail = tf.image.resize(pixels, (_THUMBNAIL, _THUMBNAIL), tf.image.ResizeMethod.AREA)
    except (ValueError, OSError, tf.errors.OpError) as error:
        return _reason(place.path, error)
    height, width, _ = pixels.shape
    return Photo(place, size, orientation, height, width, np.rint(thumbnail.numpy()).astype(np.uint8))


def _reason(path: str, error: Exception) -> str:
    if isinstance(error, OSError):
        return f"cannot be read: {error.strerror}"
    if isinstance(error, ValueError) and str(error).startswith("has "):
        return str(error).partition(";")[0].rstrip(".")
    return "is cut off or damaged" if begins_as_image(path) else "is no image"


def count_classes(photos: Sequence[Photo]) -> collections.Counter[str]:
    """Number of images of each class."""
    return collections.Counter(photo.place.label for photo in photos)
