"""HDF5 files of weights: what one declares is looked at before an array of it is read."""

from collections.abc import Iterator

import h5py
import numpy as np

from keras_nest.untrusted.limits import check_claim
from keras_nest.untrusted.tensors import check_dtype, check_names

# What h5py raises about broken files, beside OSError.
DAMAGED = (OSError, RuntimeError, KeyError, ValueError, TypeError, UnicodeError, OverflowError)


def check_weights(file: h5py.File, length: int) -> None:
    """Refuses links out of the file, data that lie elsewhere, other things than numbers, and arrays without their data.

    Args:
        file: open for reading.
        length: of the file in bytes.

    Raises:
        ValueError: the message goes on after the name of the file.
        OSError, RuntimeError, KeyError: it is damaged.
    """
    claimed = 0
    for name, array in _arrays(file):
        if array.is_virtual or array.external:
            raise ValueError(f"{name!r} in it lies in another file")
        # HDF5 has no name for bfloat16, and Keras tells it beside.
        if array.dtype != np.bool_ and (array.dtype.str, array.attrs.get("dtype")) != ("|V2", "bfloat16"):
            check_dtype(name, array.dtype)
        claimed += int(array.size) * array.dtype.itemsize
        check_claim(claimed, length)


def _arrays(file: h5py.File) -> Iterator[tuple[str, h5py.Dataset]]:
    """Name and array of everything in a file, each group once."""
    seen: set[object] = set()
    left: list[h5py.Group] = [file]
    while left:
        group = left.pop()
        check_names(list(group))
        for name in group:
            if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                raise ValueError(f"{name!r} in it is a link")
            inside = group[name]
            place = h5py.h5o.get_info(inside.id)
            if isinstance(inside, h5py.Dataset):
                yield f"{group.name}/{name}", inside
            elif isinstance(inside, h5py.Group) and (place.fileno, place.addr) not in seen:
                seen.add((place.fileno, place.addr))
                left.append(inside)
