"""Which files may be images, of which class and part: as folders say it, or a list of files and classes."""

import dataclasses
import os
from collections.abc import Iterable, Iterator

from keras_nest import buckets
from keras_nest.data.image_files import begins_as_image, count_kinds, is_clutter, is_image
from keras_nest.files import is_address
from keras_nest.finetune.labels import PARTS, Place
from keras_nest.finetune.metadata import METADATA, Records, has_labels, list_images, read_records
from keras_nest.places import is_file
from keras_nest.targets import ONE_CLASS, SINGLE_LABEL, Target

LAYOUTS = (
    "images must lie as FOLDER/CLASS/image.jpg or FOLDER/{train,val,test}/CLASS/image.jpg, or be listed with their "
    "classes in FILE.csv, FILE.jsonl or FOLDER/metadata.csv."
)


@dataclasses.dataclass(frozen=True)
class Listing:
    """What there is to look at.

    Attributes:
        root: the folder, or the file that lists images.
        places: files that may be images.
        others: what is passed over, in words: "1 .txt in cats".
        labels: of all images, and names of classes without an image.
        is_table: whether a list says it, and no folders.
        target: what is told of an image.
    """

    root: str
    places: tuple[Place, ...]
    others: tuple[str, ...]
    labels: frozenset[str]
    is_table: bool = False
    target: Target = ONE_CLASS


def list_folder(folder: str, label_column: str | None = None, task: str = SINGLE_LABEL) -> Listing:
    """Lists a folder of photographs.

    Args:
        folder: local or an address, with a folder for each class, all that is inside being of the class; or with
            folders train, val and test of such; or with a list metadata.csv or metadata.jsonl, or one in each of these.
        label_column: of that list, as `list_images` takes it.
        task: likewise; folders give an image one class.

    Raises:
        ValueError: a name cannot be one, a list cannot be read, or folders cannot tell what is asked for.
        OSError: a folder cannot be read.
    """
    names, folders = _divide(folder)
    parts = [name for name in folders if name.lower() in PARTS]
    table = _read_metadata(folder)
    if table and (
        has_labels(table, label_column, task) or not any(_holds_images(f"{folder}/{name}") for name in folders)
    ):
        return _list_tables(folder, {"": table}, label_column, task)
    tables = {name: found for name in parts if (found := _read_metadata(f"{folder}/{name}"))}
    if tables and all(has_labels(found, label_column, task) for found in tables.values()):
        return _list_tables(folder, tables, label_column, task, [name for name in parts if name not in tables])
    if task != SINGLE_LABEL:
        raise ValueError(
            f"Folders give an image one class, and --task is {task}; give a list such as FILE.csv, put a "
            f"{METADATA[0]} into {folder}, or take --task {SINGLE_LABEL}."
        )
    train = next((name for name in parts if PARTS[name.lower()] == "train"), None)
    if train is None or not _divide(f"{folder}/{train}")[1]:
        # No folder of training images, or one of images: a class of that name.
        return Listing(folder, *_list_classes(folder, ""))
    return _list_parts(folder, names, folders, parts)


def list_table(path: str, label_column: str | None = None, task: str = SINGLE_LABEL) -> Listing:
    """Lists the images that a table or JSON lines name; errors are those of `read_records` and `list_images`."""
    places, told, target = list_images(read_records(path), label_column, task)
    return Listing(path, tuple(places), tuple(told), frozenset(place.label for place in places), True, target)


def _read_metadata(folder: str) -> Records | None:
    return next((read_records(path) for name in METADATA if is_file(path := f"{folder}/{name}")), None)


def _list_tables(
    folder: str, tables: dict[str, Records], label_column: str | None, task: str, without: Iterable[str] = ()
) -> Listing:
    """The layout of Hugging Face's image folders: a list in the folder, or one in the folder of each part."""
    places: list[Place] = []
    told = [f"{name}, which has no {METADATA[0]}" for name in without]
    for name, table in tables.items():
        inside, part = os.path.dirname(table.path), PARTS.get(name.lower(), "")
        found, notes, target = list_images(table, label_column, task, part, is_metadata=True)
        listed = {os.path.normpath(place.path) for place in found}
        left = [
            path for path in _walk(inside) if is_image(os.path.basename(path)) and os.path.normpath(path) not in listed
        ]
        told += notes + ([f"{count_kinds(left)} that {table.path} does not name"] if left else [])
        places += found
    return Listing(folder, tuple(places), tuple(told), frozenset(place.label for place in places), True, target)


def _list_parts(folder: str, names: list[str], folders: list[str], parts: list[str]) -> Listing:
    left = [*names, *(f"{name}/" for name in folders if name not in parts)]
    told = [f"{count_kinds(left)} beside {', '.join(parts)}"] if left else []
    places: list[Place] = []
    labels: set[str] = set()
    for name in parts:
        found, notes, known = _list_classes(f"{folder}/{name}", PARTS[name.lower()])
        places += found
        told += [f"{what} ({name})" for what in notes]
        labels |= known
    return Listing(folder, tuple(places), tuple(told), frozenset(labels))


def _list_classes(folder: str, part: str) -> tuple[tuple[Place, ...], tuple[str, ...], frozenset[str]]:
    """Files that may be images, what is passed over, and the names of all classes."""
    names, labels = _divide(folder)
    told = [f"{count_kinds(names)} beside the classes"] if names else []
    places = []
    for label in labels:
        if {"\n", "\r"} & set(label):
            raise ValueError(f"{folder} has a class {label!r}, a name of more than one line; rename the folder.")
        inside = list(_walk(f"{folder}/{label}"))
        images = [path for path in inside if is_image(os.path.basename(path)) or _begins_as_image(path)]
        places += [Place(path, label, part) for path in images]
        left = set(inside) - set(images)
        told += [f"{count_kinds(map(os.path.basename, left))} in {label}"] if left else []
    return tuple(places), tuple(told), frozenset(labels)


def _walk(folder: str) -> Iterator[str]:
    """Paths of all files below a folder, sorted in each; a folder behind links comes up once."""
    seen: set[str] = set()

    def visit(folder: str) -> Iterator[str]:
        real = folder if is_address(folder) else os.path.realpath(folder)
        if real in seen:
            return
        seen.add(real)
        names, folders = _divide(folder)
        yield from (f"{folder}/{name}" for name in names)
        for name in folders:
            yield from visit(f"{folder}/{name}")

    return visit(folder)


def _holds_images(folder: str) -> bool:
    return any(is_image(os.path.basename(path)) for path in _walk(folder))


def _begins_as_image(path: str) -> bool:
    """As `begins_as_image`, of what is no image by its name; a link to nothing, or a locked file, is none."""
    try:
        return begins_as_image(path)
    except OSError:
        return False


def _divide(folder: str) -> tuple[list[str], list[str]]:
    """Names of files and of folders, sorted, without what is hidden or a system's.

    Raises:
        ValueError: a name is not UTF-8.
    """
    files: list[str] = []
    folders: list[str] = []
    if is_address(folder):
        for name in buckets.list_dir(folder):
            if not is_clutter(name):
                # What is named as an image is not asked about, since remote storage takes its time.
                is_folder = not is_image(name) and buckets.is_dir(f"{folder}/{name}")
                (folders if is_folder else files).append(name)
        return sorted(files), sorted(folders)
    with os.scandir(folder) as entries:
        for entry in entries:
            if not is_clutter(entry.name):
                (folders if _is_folder(entry) else files).append(entry.name)
    for name in (*files, *folders):
        if not name.isascii():
            _check_utf8(folder, name)
    return sorted(files), sorted(folders)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    """Knows it without asking the disk once more, but for links; one that leads to itself is none."""
    try:
        return entry.is_dir()
    except OSError:
        return False


def _check_utf8(folder: str, name: str) -> None:
    try:
        name.encode()
    except UnicodeEncodeError:
        raise ValueError(f"{folder} holds the name {os.fsencode(name)!r}, which is not UTF-8; rename it.") from None
