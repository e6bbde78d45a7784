"""NumPy archives with '/'-joined keys."""

import zipfile
import zlib
from typing import Any, BinaryIO

import numpy as np

from conversion.names import Tree
from conversion.tree import select_variables


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


def write_npz(tree: Tree, file: BinaryIO) -> None:
    """Writes parameters under their plain paths, as the published files do, and "batch_stats/PATH".

    Args:
        tree: "params/PATH" and "batch_stats/PATH" -> array.
        file: binary file open for writing.
    """
    arrays: dict[str, Any] = {path.removeprefix("params/"): value for path, value in tree.items()}
    np.savez(file, **arrays)


def _is_moment(key: str) -> bool:
    return key.startswith(("optimizer/state/", "opt/state/", "opt_state/"))
