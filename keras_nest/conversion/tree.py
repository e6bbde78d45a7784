"""Nested dictionaries as checkpoints store them, and the flat tree that the converter works on."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from keras_nest.conversion.legacy import to_linen
from keras_nest.conversion.names import Tree, plain
from keras_nest.untrusted.tensors import check_dtype, check_length, check_names, check_shape

# Where the parameters lie: NesT's trainer, ViT's trainer, Flax variables or a train state; else the root itself.
_PARAMS = ("optimizer/target/params/", "optimizer/target/", "opt/target/", "params/params/", "params/")
_STATS = ("model_state/batch_stats/", "params/batch_stats/", "batch_stats/")
_MAX_DEPTH = 64
_CHUNKED = "__msgpack_chunked_array__"


def flattened(node: Mapping[str, Any]) -> dict[str, Any]:
    """Leaves of a nested dictionary by their paths.

    Raises:
        ValueError: as `flatten`, or two of one path.
    """
    flat = list(flatten(node))
    check_names(path for path, _ in flat)
    return dict(flat)


def flatten(node: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """('/'-joined path, leaf) of a nested dictionary.

    Raises:
        ValueError: it is deeper than any model, or an array in parts lacks some.
    """
    if prefix.count("/") > _MAX_DEPTH:
        raise ValueError("it is nested too deeply")
    for key, value in node.items():
        if isinstance(value, Mapping):
            if _CHUNKED in value:
                yield prefix + str(key), _join_chunks(prefix + str(key), value)
            else:
                yield from flatten(value, f"{prefix}{key}/")
        else:
            yield prefix + str(key), value


def unflatten(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Inverse of `flatten`; keys of every level are sorted as text, as Flax stores them."""
    root: dict[str, Any] = {}
    for path in sorted(flat):
        *parents, leaf = path.split("/")
        node = root
        for parent in parents:
            node = node.setdefault(parent, {})
        node[leaf] = flat[path]
    return root


def select_variables(flat: Mapping[str, Any]) -> Tree:
    """The model's tensors out of a flattened checkpoint: no optimizer moments, no step.

    Args:
        flat: '/'-joined paths -> arrays, in any published layout.

    Returns:
        "params/PATH" and "batch_stats/PATH" -> array, under today's names.

    Raises:
        ValueError: no tensor found.
    """
    stats_prefix = next((p for p in _STATS if any(key.startswith(p) for key in flat)), None)
    params_prefix = next((p for p in _PARAMS if any(key.startswith(p) for key in flat)), "")
    tree: Tree = {}
    for key, value in flat.items():
        if stats_prefix and key.startswith(stats_prefix):
            tree["batch_stats/" + key.removeprefix(stats_prefix)] = np.asarray(value)
        elif key.startswith(params_prefix) and isinstance(value, (np.ndarray, np.generic)):
            tree["params/" + key.removeprefix(params_prefix)] = np.asarray(value)
    if not tree:
        raise ValueError("it holds no model parameters")
    check_names(tree)
    for path, value in tree.items():
        check_dtype(plain(path), value.dtype)
    return to_linen(tree)


def _join_chunks(name: str, node: Mapping[str, Any]) -> np.ndarray:
    """An array that Flax split because it is larger than 2^30 bytes."""
    try:
        shape, chunks = ([node[part][str(i)] for i in range(len(node[part]))] for part in ("shape", "chunks"))
    except (KeyError, TypeError):
        raise ValueError(f"{name!r} is an array in parts and lacks some") from None
    if not (chunks and all(isinstance(chunk, np.ndarray) and chunk.dtype == chunks[0].dtype for chunk in chunks)):
        raise ValueError(f"{name!r} is an array in parts, which are not of one type")
    sizes = check_shape(name, [int(size) if isinstance(size, np.integer) else size for size in shape])
    check_length(name, sizes, chunks[0].dtype, sum(chunk.nbytes for chunk in chunks))
    return np.concatenate([np.ravel(chunk) for chunk in chunks]).reshape(sizes)
