"""Loads the reference data of `resnet/`: the ResNets of the NesT paper's code.

The numbers come from the reference's own module, `models/resnet_v1.py`, run with Flax 0.12 on a CPU in highest matrix
precision. Weights and images are synthetic. Trees are flat, as in `loading`. The files:

* `facts.json`: `tiny` and `published` models with their configuration, size and checksum of the parameters; of tiny
  ones also the shape and the initial moments of every variable, of published ones the number of parameters;
* `<tiny model>.npz`: "logits"; "inter:<module>", its output; and from one pass in training mode with the mean
  cross-entropy on "labels": "train_logits", "train_loss", "train_grad:<path>" and the updated "train_stats:<path>".
  All but logits and loss are thinned;
* `published.npz`: logits of two images in the published size.
"""

import functools
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tests.golden import synthetic
from tests.golden.loading import Case, Flat

FOLDER = Path(__file__).parent / "resnet"
_KEPT = 256


@functools.cache
def facts() -> dict[str, Any]:
    """The content of `facts.json`. Shared between callers: do not change it."""
    return json.loads((FOLDER / "facts.json").read_text(encoding="utf-8"))


TINY = tuple(facts()["tiny"])
"""Two stages each: with bottlenecks, and basic blocks for small images."""

PUBLISHED = tuple(facts()["published"])
"""The models of the reference's file, at the sizes of its configurations."""


def case(name: str) -> Case:
    """The stored model of any name in `TINY`; its weights are checked against their checksum."""
    entry = facts()["tiny"][name]
    values = {path: synthetic.leaf(path.partition("/")[2], stats["shape"]) for path, stats in entry["initial"].items()}
    return Case(
        name=name,
        architecture="ResNet",
        config=entry["config"],
        params=_checked(below(values, "params/"), entry),
        batch_stats=below(values, "batch_stats/"),
        images=synthetic.images(entry["images_seed"], tuple(entry["image_shape"])),
        expected=_arrays(name),
    )


def published(name: str, shapes: dict[str, tuple[int, ...]]) -> Case:
    """The stored model of any name in `PUBLISHED`.

    Args:
        name: the model.
        shapes: "params/<path>" and "batch_stats/<path>" of the port -> shape; the parameters are checked.
    """
    entry = facts()["published"][name]
    side = entry["image_size"]
    return Case(
        name=name,
        architecture="ResNet",
        config=entry["config"],
        params=_checked(synthetic.tree(below(shapes, "params/")), entry),
        batch_stats=synthetic.tree(below(shapes, "batch_stats/")),
        images=synthetic.images(entry["images_seed"], (2, side, side, 3)),
        expected={"logits": _arrays("published")[name]},
    )


def below(flat: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    """The entries whose key begins with `prefix`, named without it."""
    return {key.removeprefix(prefix): value for key, value in flat.items() if key.startswith(prefix)}


def thin(array: np.ndarray) -> np.ndarray:
    """What the files hold of a tensor: every n-th number, flattened; n is odd, so that all channels have a turn."""
    return np.ravel(array)[:: math.ceil(np.size(array) / _KEPT) | 1]


def _arrays(name: str) -> Flat:
    with np.load(FOLDER / f"{name}.npz") as file:
        return dict(file)


def _checked(params: Flat, entry: dict[str, Any]) -> Flat:
    # Another tree, or a drifted generator, would otherwise look like a wrong model.
    np.testing.assert_allclose(synthetic.checksum(params), entry["param_checksum"], rtol=1e-9)
    return params
