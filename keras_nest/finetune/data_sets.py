"""Data sets of TFDS, and the digits, as class folders: what fine-tuning looks at, divides and measures are files."""

import pathlib
import re
from collections.abc import Iterator

import tensorflow as tf

from keras_nest.data.sources import digits
from keras_nest.data.sources.base import ONLY_HOST, DatasetInfo, Examples, decode
from keras_nest.data.sources.tfds import find_splits, open_tfds
from keras_nest.files import atomic_output, cache_folder
from keras_nest.finetune.labels import PARTS
from keras_nest.finetune.metadata import TABLES

LARGEST = 200_000
"""Images of which copies are made; more are for `keras-nest train`, which reads them where they lie."""

# A configuration and a version may follow.
_NAME = re.compile(r"[\w\-]+(/[\w.\-]+)*(:[\d.*]+)?")
_JPEG, _PNG = b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"


def find_data_set(name: str) -> str | None:
    """Class folders of a data set, in the cache of `keras_nest.files.cache_folder`; they are written once.

    Args:
        name: "digits", or a data set that TFDS has prepared, as `open_tfds` takes it.

    Returns:
        The path; None where the name can only be a path, or TFDS does not know it or is not installed.

    Raises:
        FileNotFoundError: TFDS knows the data set, and has not prepared it.
        ValueError: it has no images with one class each, or too many.
    """
    if name == "digits":
        source = digits.open_digits()
        return _folder("digits", source.info, {"train": source.train, "test": source.test})
    if not _NAME.fullmatch(name) or name.endswith(TABLES):
        return None
    try:
        full_name, splits = find_splits(name)
    except ModuleNotFoundError:
        return None
    except ValueError as error:
        # Whoever mistypes a folder need not hear of TFDS, and of names there that sound alike.
        if str(error).startswith(("There is no directory", "TFDS cannot open")):
            return None
        raise
    if sum(splits.values()) > LARGEST:
        raise ValueError(
            f"{name} has {sum(splits.values()):,} images, and fine-tuning on more than {LARGEST:,} is what `keras-nest "
            "train` with a configuration is for."
        )
    names = {part: split for split in splits if (part := PARTS.get(split.lower()))}
    if "train" not in names:
        raise ValueError(f"{name} has no images for training; its splits are {', '.join(splits)}.")
    sources = {part: open_tfds(name, names["train"], split) for part, split in names.items()}
    info = sources["train"].info
    if info.has_captions:
        raise ValueError(f"{name} has captions and no classes; only a LiT learns from them.")
    return _folder(full_name, info, {part: source.test for part, source in sources.items()})


def _folder(name: str, info: DatasetInfo, parts: dict[str, Examples]) -> str:
    place = cache_folder() / "data_sets" / name
    if not place.is_dir():
        with atomic_output(place) as partial:
            for part, examples in parts.items():
                # Of a single part, the classes lie in the folder itself, and all parts are made of it.
                _write(examples, info, partial / part if len(parts) > 1 else partial)
    return str(place)


def _write(examples: Examples, info: DatasetInfo, folder: pathlib.Path) -> None:
    names = list(_class_folders(info))
    for name in names:
        (folder / name).mkdir(parents=True, exist_ok=True)
    for number, example in enumerate(examples.in_order(ONLY_HOST)):
        content, label, _ = example
        encoded = content.numpy() if content.dtype == tf.string else b""
        if not encoded.startswith((_JPEG, _PNG)):
            encoded = tf.io.encode_png(decode(example)).numpy()
        suffix = "jpg" if encoded.startswith(_JPEG) else "png"
        (folder / names[int(label)] / f"{number:06}.{suffix}").write_bytes(encoded)


def _class_folders(info: DatasetInfo) -> Iterator[str]:
    """Names of classes as those of folders; what would make two of them one, or hide one, is told apart by a number."""
    seen: set[str] = set()
    for number, name in enumerate(info.class_names):
        folder = name.replace("/", "_").strip()
        is_taken = not folder or folder in seen or folder.startswith(".")
        seen.add(folder := f"{number} {folder}".strip() if is_taken else folder)
        yield folder
