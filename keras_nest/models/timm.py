"""The checkpoints of timm that models here compute: names with tags, such as "nest_base_jx.goog_in1k".

Sources: `default_cfgs` of timm 1.0.31, and the accuracies of results/results-imagenet.csv in its repository at aa4b585.
"""

import csv
import functools
import importlib.resources
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

# Others of timm's names near ours: pattern of an architecture -> what its models have that those here do not compute.
_NOT_COMPUTED = {
    r"vit_.*_reg\d": "register tokens",
    r"vit_.*_(dinov3|rope_)|eva02_": "rotary positions",
    r"vit_.*_dinov2|vit_.*_(36x1|18x2)_|vit_medium_patch16_gap_|deit3_": "layer scale",
    r"vit_.*_clip_": "a norm in front of the encoder",
    r"vit_.*_siglip_(?!gap)": "attention pooling",
    r"vit_.*_rpn_": "norms behind the branches instead of in front",
    r"vit_s?relpos_|beit": "relative positions",
    r"deit_.*_distilled_": "a distillation token",
    r"gmixer_": "gated multi-layer perceptrons",
    r"resmlp_": "affine layers in place of norms",
    r"nest_(tiny|small|base)$": "symmetric padding, other than timm's nest_…_jx",
}


class TimmModel(NamedTuple):
    """A published checkpoint of timm.

    Attributes:
        name: with its tag; that of the repository of the hub, too, "timm/NAME".
        is_default: whether timm takes this one for the name without a tag.
        old_names: those of before timm had tags, as its `register_model_deprecations` have them.
        model: full published name of the model here that computes it.
        num_classes: of its head; 0 without one.
        image_size: side in pixels.
        parameters: with this head.
        mean, std: of the channels, in [0, 1].
        crop_ratio: share of the resized side that the crop keeps.
        interpolation: "bicubic" or "bilinear".
        top1, top5: percent of ImageNet's validation images, as timm measured; None where it did not.
    """

    name: str
    is_default: bool
    old_names: tuple[str, ...]
    model: str
    num_classes: int
    image_size: int
    parameters: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    crop_ratio: float
    interpolation: str
    top1: float | None
    top5: float | None

    @property
    def handle(self) -> str:
        """Where its weights lie on the hub."""
        return f"hf://timm/{self.name}"

    @property
    def fields(self) -> dict[str, Any]:
        """Fields that differ from those of `model`, but for what all models of PyTorch compute otherwise."""
        spec = {"mean": list(self.mean), "std": list(self.std), "crop_ratio": self.crop_ratio, "pillow": True}
        return {
            "num_classes": self.num_classes,
            "image_size": self.image_size,
            "preprocessing": {**spec, "interpolation": self.interpolation},
        }


@functools.cache
def timm_models() -> Mapping[str, TimmModel]:
    """All of them by name, in the order of timm's lists."""
    table = importlib.resources.files("keras_nest.models") / "timm.csv"
    return {row["name"]: _model(row) for row in csv.DictReader(table.read_text("utf-8").splitlines())}


def find_timm_model(name: str) -> TimmModel | None:
    """The one of a name, with its tag or without, or an old one, as in `timm.create_model`; None if there is none."""
    tagged = timm_models().get(name)
    return tagged or next((one for one in timm_models().values() if name in _other_names(one)), None)


def _other_names(one: TimmModel) -> tuple[str, ...]:
    return (*one.old_names, architecture_of(one.name)) if one.is_default else one.old_names


def architecture_of(name: str) -> str:
    """The part of a name in front of its tag."""
    return name.partition(".")[0]


def not_computed(name: str) -> str | None:
    """What a model of timm has that those here do not compute; None where its name does not tell."""
    found = (what for pattern, what in _NOT_COMPUTED.items() if re.match(pattern, architecture_of(name)))
    return next(found, None)


def _model(row: Mapping[str, str]) -> TimmModel:
    mean, std = (tuple(map(float, row[name].split())) * (1 if " " in row[name] else 3) for name in ("mean", "std"))
    top1, top5 = (float(row[name]) if row[name] else None for name in ("top1", "top5"))
    classes, size, parameters = (int(row[name]) for name in ("num_classes", "image_size", "parameters"))
    return TimmModel(
        name=row["name"],
        is_default=row["default"] == "yes",
        old_names=tuple(row["old_names"].split()),
        model=row["model"],
        num_classes=classes,
        image_size=size,
        parameters=parameters,
        mean=mean,
        std=std,
        crop_ratio=float(row["crop_ratio"]),
        interpolation=row["interpolation"],
        top1=top1,
        top5=top5,
    )
