"""What images there are: of which classes, how large, and what is left out for which reason."""

import collections
import contextlib
import dataclasses
import os
from collections.abc import Sequence, Set

import numpy as np

from keras_nest import buckets
from keras_nest.data.inspection import Inspected, inspect
from keras_nest.data.sources.folder import some_of
from keras_nest.files import is_address
from keras_nest.finetune.data_sets import find_data_set
from keras_nest.finetune.labels import Place
from keras_nest.finetune.listing import LAYOUTS, Listing, list_folder, list_table
from keras_nest.finetune.metadata import TABLES
from keras_nest.places import absolute, is_dir, is_file, normal
from keras_nest.targets import MULTI_LABEL, ONE_CLASS, REGRESSION, SINGLE_LABEL, Target


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
        target: what is told of an image.
    """

    root: str
    photos: tuple[Photo, ...]
    broken: tuple[tuple[Place, str], ...]
    others: tuple[str, ...]
    empty: tuple[str, ...]
    target: Target = ONE_CLASS

    @property
    def class_names(self) -> tuple[str, ...]:
        """Classes with images, sorted; of a regression the name of the number."""
        return self.target.class_names(photo.place.label for photo in self.photos)

    @property
    def is_split(self) -> bool:
        """Whether the folders say which images are for what."""
        return any(photo.place.part for photo in self.photos)


def look(
    name: str | os.PathLike[str],
    max_broken: float = 0.1,
    label_column: str | None = None,
    task: str = SINGLE_LABEL,
) -> Found:
    """Looks at every file of a data set once.

    What an image is, its content decides. Hidden files and those of systems, such as __MACOSX, are passed over.

    Args:
        name: a folder as `list_folder` takes it, a list as `list_table` does, or a data set as `find_data_set`.
        max_broken: largest share of the images that may be broken.
        label_column: of a list, the column of the classes or numbers.
        task: one of `keras_nest.choices.TASKS`, what is told of an image; other than one class only lists tell.

    Raises:
        FileNotFoundError: there is no such folder, file or data set.
        ValueError: there are no folders of classes, fewer than two classes or numbers, too many broken images, or a
            name that cannot be one.
        OSError: a folder cannot be read.
    """
    listing = _list(name, label_column, task)
    photos, broken = _examine(listing)
    places = listing.places
    if len(broken) > max_broken * len(places):
        raise ValueError(
            f"{len(broken):,} of {len(places):,} images cannot be read, and --max-broken allows a share of "
            f"{max_broken}: {some_of([f'{place.path} {reason}' for place, reason in broken])}."
        )
    found = Found(listing.root, photos, broken, listing.others, (), listing.target)
    if len({photo.place.label for photo in photos}) < 2:
        raise ValueError(_too_few(listing, found))
    if listing.target.task == MULTI_LABEL and all(len(listing.target.names_in(label)) < 2 for label in listing.labels):
        raise ValueError(
            f"{listing.root} has no image with two labels or more; between labels must stand | or ; or a comma. Leave "
            "--task multi-label out where each image has one class."
        )
    empty = set(listing.target.class_names(listing.labels)) - set(found.class_names)
    return dataclasses.replace(found, empty=tuple(sorted(empty)))


def _too_few(listing: Listing, found: Found) -> str:
    """What to say of images that all have the same label, or of none at all."""
    if found.photos and listing.target.task == REGRESSION:
        return (
            f"{listing.root} has one number for all images, {found.photos[0].place.label}; there is nothing to learn."
        )
    filled = {photo.place.label for photo in found.photos}
    known = f"images of one class, {min(filled)!r}" if filled else "no images in folders of classes"
    remedy = _suspect_wrapper(listing, filled) or f", and {LAYOUTS}"
    return f"{listing.root} has {known}; a classifier needs two classes or more{remedy}"


def _suspect_wrapper(listing: Listing, filled: Set[str]) -> str:
    """What to say where all lies one folder deeper, as archives unpack; empty if it does not."""
    if listing.is_table or len(filled) != 1:
        return ""
    inner = os.path.join(listing.root, *filled)
    folders = {os.path.dirname(place.path) for place in listing.places}
    return f"; did you mean {inner}?" if len(folders) > 1 and inner not in folders else ""


def list_sizes(
    name: str | os.PathLike[str], label_column: str | None = None, task: str = SINGLE_LABEL
) -> dict[str, int]:
    """Bytes of the files that may be images, by `absolute` path; none of a data set that is not there any more."""
    try:
        places = _list(name, label_column, task).places
    except (FileNotFoundError, ValueError):
        return {}
    sizes = {}
    for place in places:
        with contextlib.suppress(OSError):  # a list may name what is not there, and a link as well
            sizes[absolute(place.path)] = buckets.size(place.path)
    return sizes


def _list(name: str | os.PathLike[str], label_column: str | None, task: str) -> Listing:
    path = normal(os.path.expanduser(name)) if is_address(name) else os.path.expanduser(name)
    if is_file(path):
        if not path.lower().endswith(TABLES):
            raise ValueError(f"{path} is a file; give a folder, or a list that ends in {', '.join(TABLES)}: {LAYOUTS}")
        return list_table(path, label_column, task)
    if not is_dir(path):
        path = (not is_address(path) and find_data_set(path)) or path
    if not is_dir(path):
        raise FileNotFoundError(f"There is no {_kind(path)} {path}; {LAYOUTS}")
    listing = list_folder(path, label_column, task)
    if label_column is not None and not listing.is_table:
        raise ValueError(f"--label-column is {label_column!r}, and {path} has no list with columns; leave it out.")
    return listing


def _kind(path: str) -> str:
    return "file" if path.lower().endswith(TABLES) else "folder"


def _examine(listing: Listing) -> tuple[tuple[Photo, ...], tuple[tuple[Place, str], ...]]:
    """Images that can be read, and those that cannot with the reason."""
    photos, broken = [], []
    found = inspect([place.path for place in listing.places], listing.root)
    for place, seen in zip(listing.places, found, strict=True):
        if seen.fault:
            broken.append((place, seen.fault.partition(";")[0]))
        else:
            photos.append(_photo(place, seen))
    return tuple(photos), tuple(broken)


def _photo(place: Place, seen: Inspected) -> Photo:
    return Photo(place, seen.size, seen.orientation, seen.height, seen.width, seen.thumbnail)


def count_classes(photos: Sequence[Photo], target: Target = ONE_CLASS) -> collections.Counter[str]:
    """Number of images of each class; an image of several counts for each of them."""
    return collections.Counter(name for photo in photos for name in target.names_in(photo.place.label))
