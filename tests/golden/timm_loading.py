"""Files and outputs of timm 1.0.31 and transformers 5.18.0, in tests/golden/timm, made with PyTorch on random weights.

cases/NAME: config.json, and where a model here computes it model.safetensors and outputs.npz; files: the weights of
cases/vit_token as users have them, and what is no such file.
"""

import dataclasses
import json
import pathlib
from typing import Any

import numpy as np

FOLDER = pathlib.Path(__file__).parent / "timm"
CASES = sorted(path.parent.name for path in (FOLDER / "cases").glob("*/model.safetensors"))
REFUSED = sorted(path.name for path in (FOLDER / "cases").iterdir() if path.name not in CASES)


@dataclasses.dataclass(frozen=True)
class Case:
    """A model of theirs.

    Attributes:
        folder: with model.safetensors and config.json.
        fields: of our model that computes it.
        images: (B, H, W, channels).
        outputs: logits, features, …, as they have them.
    """

    folder: pathlib.Path
    fields: dict[str, Any]
    images: np.ndarray
    outputs: dict[str, np.ndarray]

    @property
    def tolerance(self) -> float:
        """Of logits and features: a ResNet's rounding is larger."""
        return 1e-4 if "hybrid" in self.folder.name else 2e-5


def case(name: str) -> Case:
    """One of `CASES`."""
    folder = FOLDER / "cases" / name
    fields = json.loads((folder / "config.json").read_text())["keras_nest"]
    with np.load(folder / "outputs.npz") as file:
        outputs = dict(file)
    return Case(folder, fields, outputs.pop("images_nchw").transpose(0, 2, 3, 1), outputs)
