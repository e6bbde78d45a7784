"""NumPy archives with '/'-joined keys."""

import json
import zipfile
from typing import BinaryIO

import numpy as np

from keras_nest.conversion.image_size import FIELD, told_size
from keras_nest.conversion.names import Tree, plain
from keras_nest.conversion.tree import select_variables
from keras_nest.types import Size
from keras_nest.untrusted.archive import open_archive
from keras_nest.untrusted.json_text import parse_json
from keras_nest.untrusted.tensors import check_dtype, check_length, check_names, check_shape

_MAGIC = np.lib.format.MAGIC_PREFIX
# Of the versions of NumPy's format; the third is for records with names in other letters.
_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


def read_npz(file: BinaryIO) -> Tree:
    """Parameters and batch statistics of an .npz file.

    Args:
        file: binary file that can seek.

    Raises:
        ValueError: damaged, no tensors inside, or one that is none of numbers.
    """
    with open_archive(file) as archive:
        members = [(member.filename.removesuffix(".npy"), member) for member in archive.infolist()]
        check_names(key for key, _ in members)
        arrays = {key: _read_array(archive, member, key) for key, member in members if not _is_moment(key)}
    return select_variables({key: array for key, array in arrays.items() if array is not None})


def _read_array(archive: zipfile.ZipFile, member: zipfile.ZipInfo, key: str) -> np.ndarray | None:
    """A member; None of one that is no array."""
    with archive.open(member) as file:
        if file.read(len(_MAGIC)) != _MAGIC:
            if member.filename.endswith(".npy"):
                raise ValueError(f"{key!r} is no array of NumPy")
            return None
        version = tuple(file.read(2))
        if version not in _HEADERS:
            raise ValueError(f"{key!r} is of the version {version} of NumPy's format, which holds no numbers alone")
        try:
            shape, is_fortran, dtype = _HEADERS[version](file)
        except Exception:  # what NumPy's parser raises about odd headers is listed nowhere
            raise ValueError(f"{key!r} has a header that does not say what it holds") from None
        check_dtype(key, dtype)
        shape = check_shape(key, shape)
        # Before anything is read: what a header claims costs nothing to write.
        check_length(key, shape, dtype, member.file_size - file.tell())
        array = np.frombuffer(file.read(), dtype)
    return array.reshape(shape[::-1]).T if is_fortran else array.reshape(shape)


def write_npz(tree: Tree, file: BinaryIO, image_size: Size | None = None) -> None:
    """Writes parameters under their plain paths, as the published files do, and "batch_stats/PATH".

    Args:
        tree: "params/PATH" and "batch_stats/PATH" -> array.
        file: binary file open for writing.
        image_size: height and width of the model's images; told in the archive's comment, which `numpy.load` skips.
    """
    # As `np.savez` does it, which writes no comment, and fails where the clock stands before 1980.
    with zipfile.ZipFile(file, "w") as archive:
        for path, value in tree.items():
            with archive.open(zipfile.ZipInfo(f"{plain(path)}.npy"), "w", force_zip64=True) as member:
                np.lib.format.write_array(member, np.asanyarray(value), allow_pickle=False)
        if image_size:
            archive.comment = json.dumps({FIELD: image_size}).encode()


def npz_image_size(file: BinaryIO) -> Size | None:
    """Height and width of the model's images, if the archive tells them.

    Args:
        file: binary file that can seek; only its end is read.
    """
    try:
        with open_archive(file) as archive:
            return told_size(parse_json(archive.comment))
    except ValueError:  # a comment of somebody else's
        return None


def _is_moment(key: str) -> bool:
    return key.startswith(("optimizer/state/", "opt/state/", "opt_state/"))
