"""NumPy archives with '/'-joined keys."""

import json
import zipfile
import zlib
from typing import BinaryIO

import numpy as np

from keras_nest.conversion.image_size import FIELD, told_size
from keras_nest.conversion.names import Tree, plain
from keras_nest.conversion.tree import select_variables
from keras_nest.types import Size


def read_npz(file: BinaryIO) -> Tree:
    """Parameters and batch statistics of an .npz file.

    Args:
        file: binary file that can seek.

    Raises:
        ValueError: damaged, or no tensors inside.
    """
    try:
        with np.load(file, allow_pickle=False) as archive:
            return select_variables({key: archive[key] for key in archive.files if not _is_moment(key)})
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise ValueError(f"it is truncated or damaged ({error})") from None


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
        with zipfile.ZipFile(file) as archive:
            return told_size(json.loads(archive.comment))
    except (ValueError, TypeError):  # a comment of somebody else's
        return None


def _is_moment(key: str) -> bool:
    return key.startswith(("optimizer/state/", "opt/state/", "opt_state/"))
