"""Loads the reference trainings of `train/`: eight updates of small models, with what the reference got.

numpy and json only. The initial weights are `synthetic.tree` of the model's shapes. `nest.json` and `vit.json` hold the
configurations and what was measured at each update, `nest.npz` and `vit.npz` the weights afterwards; of other NesT
cases than AdamW there are only sums ("final": sum, sum of absolutes, L2 norm and largest change of each tensor).
`vit.json` also holds values of the learning-rate schedule, and how far wrong readings of the update rule end up.
"""

import dataclasses
import functools
import json
from pathlib import Path
from typing import Any

import numpy as np

from tests.golden import loading, synthetic, vit_loading
from tests.golden.loading import Flat

FOLDER = Path(__file__).parent / "train"
UPDATES = 8


@functools.cache
def facts(name: str) -> dict[str, Any]:
    """The content of `train/<name>.json`. Shared between callers: do not change it."""
    return json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))


NEST = tuple(facts("nest"))
"""NesT: AdamW with and without clipping, Adam and Nesterov with a term of the loss, soft labels, BatchNorm."""

VIT = tuple(facts("vit")["runs"])
"""ViT: momentum with a bfloat16 accumulator."""


@dataclasses.dataclass(frozen=True)
class Case:
    """One training.

    Attributes:
        facts: the entry of the JSON file: optimiser, schedule and more.
        config: constructor arguments, `num_classes` included.
        images: float32 (UPDATES, B, H, W, 3).
        labels: classes (UPDATES, B), or probabilities (UPDATES, B, K).
        loss: mean over the batch, at each update.
        grad_norm: global norm of the gradient before clipping, at each update.
        rates: learning rate of each update.
        param_checksum: `synthetic.checksum` of the initial weights.
        after: number of updates -> weights by '/'-joined path.
    """

    facts: dict[str, Any]
    config: dict[str, Any]
    images: np.ndarray
    labels: np.ndarray
    loss: list[float]
    grad_norm: list[float]
    rates: list[float]
    param_checksum: float
    after: dict[int, Flat]


def nest(name: str) -> Case:
    """The training of a name listed in `NEST`."""
    entry = facts("nest")[name]
    batch, side, classes = entry["batch"], entry["image_size"], entry["num_classes"]
    labels = (2 * np.arange(1, UPDATES + 1)[:, None] + 3 * np.arange(batch) + 1) % classes
    if entry["labels_kind"] == "smooth":
        first, second = (np.eye(classes, dtype=np.float32)[(labels + shift) % classes] for shift in (0, 1))
        labels = 0.9 * (0.7 * first + 0.3 * second) + np.float32(0.1 / classes)
    return Case(
        facts=entry,
        config={**entry["config"], "num_classes": classes},
        images=_images(entry["seed"] + 1, (batch, side, side, 3)),
        labels=labels,
        loss=entry["per_step"]["loss"],
        grad_norm=entry["per_step"]["grad_norm"],
        rates=entry["per_step"]["lr"],
        param_checksum=entry["initial_params_checksum"],
        after={UPDATES: loading.below(_arrays("nest"), name)},
    )


def vit(name: str) -> Case:
    """The training of a name listed in `VIT`."""
    entry = facts("vit")["runs"][name]
    batch = entry["image_shape"][0]
    return Case(
        facts=entry,
        config=vit_loading.flat_config(entry["model"], entry["num_classes"]),
        images=_images(entry["first_images_seed"], tuple(entry["image_shape"])),
        labels=(np.arange(UPDATES)[:, None] + np.arange(batch)) % entry["num_classes"],
        loss=entry["loss"],
        grad_norm=entry["grad_global_norm"],
        rates=entry["lr_used"],
        param_checksum=entry["param_checksum"],
        after={steps: loading.below(_arrays("vit"), f"{name}/{steps}") for steps in (2, UPDATES)},
    )


def _images(first_seed: int, shape: tuple[int, ...]) -> np.ndarray:
    return np.stack([synthetic.images(first_seed + step, shape) for step in range(UPDATES)])


@functools.cache
def _arrays(name: str) -> Flat:
    with np.load(FOLDER / f"{name}.npz") as file:
        return dict(file)
