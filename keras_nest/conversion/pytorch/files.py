"""Which files hold a PyTorch model's weights, and their tensors."""

import os
import re
from collections.abc import Callable, Collection
from typing import BinaryIO

import numpy as np

from keras_nest.conversion.pytorch.pickle_file import read_torch
from keras_nest.conversion.pytorch.safetensors_file import read_safetensors
from keras_nest.untrusted.json_text import parse_object
from keras_nest.untrusted.tensors import check_names

# In directories as the hub has them; the first that is there is read.
IN_DIRECTORIES = (
    *("model.safetensors", "model.safetensors.index.json"),
    *("pytorch_model.bin", "pytorch_model.bin.index.json"),
)
CONFIG, PREPROCESSOR = "config.json", "preprocessor_config.json"
_INDEX = ".index.json"
_SUFFIX = re.compile(r"\.(safetensors|pth|pt|bin|pth\.tar|(safetensors|bin)\.index\.json)$")

Open = Callable[[str], BinaryIO]


def is_pytorch(path: str) -> bool:
    """Whether the name of a file is one of PyTorch's."""
    return bool(_SUFFIX.search(path))


def in_directory(names: Collection[str]) -> str | None:
    """The file of weights among the names in a directory; None if there is none."""
    return next((name for name in IN_DIRECTORIES if name in names), None)


def read_tensors(path: str, open_file: Open) -> dict[str, np.ndarray]:
    """All tensors of a file, or of the files that an index names.

    Args:
        path: for which `is_pytorch` holds.
        open_file: opens a path for reading bytes.

    Raises:
        ValueError: damaged, of another kind, or one of several files is missing.
    """
    if path.endswith(_INDEX):
        return _read_shards(path, open_file)
    with open_file(path) as file:
        return read_safetensors(file) if path.endswith(".safetensors") else read_torch(file)


def _read_shards(path: str, open_file: Open) -> dict[str, np.ndarray]:
    with open_file(path) as file:
        try:
            places = parse_object(file.read())["weight_map"]
            shards = sorted(set(places.values()))
        except (ValueError, KeyError, TypeError, AttributeError):
            raise ValueError("it is no index of files of weights") from None
    tensors: dict[str, np.ndarray] = {}
    for shard in shards:
        if os.path.basename(shard) != shard or not is_pytorch(shard) or shard.endswith(_INDEX):
            raise ValueError(f"it names the file {shard!r}, which is none of weights beside it")
        try:
            found = read_tensors(os.path.join(os.path.dirname(path), shard), open_file)
        except OSError:
            raise ValueError(f"the file {shard} that it names is missing") from None
        check_names([*tensors, *found])
        tensors |= found
    if missing := sorted(set(places) - set(tensors)):
        raise ValueError(f"{missing[0]} is not in the file {places[missing[0]]} that should hold it")
    return {name: tensors[name] for name in places}
