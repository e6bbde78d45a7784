"""Loads the reference data of `augment/`: images as the official NesT code augments and preprocesses them.

numpy and json only. Arrays are named by '/'-joined paths; `facts` holds arguments, keys and tables under the same
names. An array ending in `_everyN` is every N-th pixel of the result; `_f16` was stored as float16. The groups:

* `img/<image>`: uint8 inputs `a64` (64x64), `b97x133`, `edge8` (constant, two-valued and all-different channels) and
  `c32`; `jpeg/bytes` (150x200) and `png/c32_bytes` are encoded files;
* `op/<image>/<Op>[/<argument>]`, `cutout/`: single operations of RandAugment, arguments with their sign;
  `table/`: arguments by level; `randaugment/c32/<i>`: both layers with key [i, 8] and size 32, signs positive;
* `train/`, `norm/`, `eval/`: crops, normalisation and evaluation; `train/cifar10_full_signplus/<i>` is all of CIFAR's
  training with key [i, 9], signs positive; `vit/train_fixed/`: the crop of vit_jax, box and flip given;
  `vit/eval/` its evaluation;
* `colorjitter/a64/<i>`, `erase/`, `mix/b<batch size>/`: the other augmentations; `rng/`: derived keys.

Typical use::

    for argument, expected in augment_loading.arrays("op/a64/Rotate").items():
        np.testing.assert_array_equal(my_rotate(augment_loading.array("img/a64"), float(argument)), expected)
"""

import functools
import json
from pathlib import Path
from typing import Any

import numpy as np

from tests.golden.loading import Flat, below

FOLDER = Path(__file__).parent / "augment"


@functools.cache
def facts() -> dict[str, Any]:
    """The content of `goldens.json`. Shared between callers: do not change it."""
    return json.loads((FOLDER / "goldens.json").read_text(encoding="utf-8"))


def array(name: str) -> np.ndarray:
    """One array by its full name."""
    return _all()[name]


def arrays(prefix: str) -> Flat:
    """The arrays under `prefix` + '/', named relative to it."""
    found = below(_all(), prefix)
    assert found, f"nothing is stored under {prefix}"
    return found


@functools.cache
def _all() -> Flat:
    with np.load(FOLDER / "goldens.npz") as file:
        stored = dict(file)
    for value in stored.values():
        value.flags.writeable = False  # shared between callers
    return stored
