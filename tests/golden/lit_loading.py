"""Loads the reference data of `vit/lit/`: LiT's towers and pairs.

As `vit_loading`; of the outputs, those of the image tower's modules are left out, for they are ViT's.
"""

import dataclasses
import functools
import json
from pathlib import Path
from typing import Any

import numpy as np

from tests.golden import synthetic, vit_loading
from tests.golden.loading import Flat

FOLDER = Path(__file__).parent / "vit/lit"
FACTS = json.loads((FOLDER / "facts.json").read_text(encoding="utf-8"))

CONFIGS = tuple(FACTS["configs"])
"""The published configurations."""

FULL_SIZE = tuple(FACTS["full"])
"""Published configurations; those that end in "_text" are without the image tower."""

TINY = tuple(FACTS["tiny"])
"""Tiny models: loss and gradients, too."""

PRE_LINEN = FOLDER / "lit_img_pre_linen.npz"
"""A stand-in for a published file: the parameters of "lit_bert", those of the image tower under older names."""

_BERT_FIELDS = {
    "hidden_size": "hidden_size",
    "intermediate_dim": "mlp_dim",
    "num_hidden_layers": "num_layers",
    "num_attention_heads": "num_heads",
    "vocab_size": "vocab_size",
    "max_length": "max_length",
    "num_segments": "num_segments",
}


@dataclasses.dataclass(frozen=True)
class Case:
    """One stored pair, or the text tower of one.

    Attributes:
        name: a name listed in `FULL_SIZE` or `TINY`.
        config: fields of LiT.
        params: parameters, float32, by '/'-joined path; of text towers those of "txt/…" and "t".
        images: (B, H, W, C) float32, None of text towers.
        tokens: (B, N) int32.
        expected: "zimg", "ztxt", "t", "loss", "inter:<module>", "grad:<path>", "grad_images", what there is of it.
        stored_strides: how `expected` was thinned, by key.
    """

    name: str
    config: dict[str, Any]
    params: Flat
    images: np.ndarray | None
    tokens: np.ndarray
    expected: Flat
    stored_strides: dict[str, tuple[int, ...]]

    @property
    def intermediates(self) -> Flat:
        """Outputs of the text tower's modules, by the module's path without "txt/"."""
        prefix = "inter:txt/"
        return {key.removeprefix(prefix): value for key, value in self.expected.items() if key.startswith(prefix)}

    @property
    def gradients(self) -> Flat:
        """Gradients of the loss, by the parameter's path."""
        return {key.removeprefix("grad:"): value for key, value in self.expected.items() if key.startswith("grad:")}

    def sample(self, module: str, array: np.ndarray) -> np.ndarray:
        """The part of a module's output that is stored."""
        return vit_loading.sample(array, self.stored_strides.get(f"inter:txt/{module}", ()))


def case(name: str) -> Case:
    """The stored model of any name in `FULL_SIZE` or `TINY`; parameters are checked against their checksum.

    Tiny ones are shared between callers: do not change them. The others take a gigabyte each, for one test.
    """
    return _tiny(name) if name in TINY else _read(name)


@functools.cache
def _tiny(name: str) -> Case:
    return _read(name)


def _read(name: str) -> Case:
    entry = FACTS["tiny" if name in TINY else "full"][name]
    with np.load(FOLDER / f"{name}.npz") as file:
        expected = dict(file)
    if name in TINY:
        shapes, strides, image_shape = vit_loading.expand(entry["params"]), {}, entry["image_shape"]
        settings = config(entry)
    else:
        towers, strides = entry["towers_in_tree"], entry["tensors"]
        shapes = {path: s for path, s in shapes_of(entry["config"]).items() if path.split("/")[0] in towers}
        settings = config(FACTS["configs"][entry["config"]])
        image_shape = entry["image_batch"] and (entry["image_batch"], 224, 224, 3)
    params = synthetic.tree(shapes, entry["salt"])
    np.testing.assert_allclose(synthetic.checksum(params), entry["param_checksum"], rtol=1e-9)
    images = synthetic.images(entry["images_seed"], tuple(image_shape)) if image_shape else None
    return Case(name, settings, params, images, expected.pop("tokens"), expected, strides)


def shapes_of(name: str) -> dict[str, tuple[int, ...]]:
    """{path: shape} of the parameters of a published configuration."""
    entry = FACTS["configs"][name]
    image = vit_loading.shapes(entry["image_config"]["model_name"], entry["out_dim"][0] or 0)
    return vit_loading.expand(entry["params"]) | {f"img/{path}": shape for path, shape in image.items()}


def parameter_count(name: str) -> int:
    """Number of parameters that the reference reports for a published configuration."""
    return FACTS["configs"][name]["param_count"]


def config(entry: dict[str, Any]) -> dict[str, Any]:
    """Fields of LiT from a configuration as the reference nests it."""
    image_dim, text_dim = entry["out_dim"]
    text = {"out_dim": text_dim, "max_len": entry["max_len"]}
    if entry["text_model"] == "bert":
        text |= {"class_name": "Bert"} | {ours: entry["bert"][theirs] for theirs, ours in _BERT_FIELDS.items()}
    else:
        text |= {"class_name": "TextTransformer", **entry["text"]}
    image = {"class_name": "VisionTransformer", **vit_loading.flat_config(entry["image_config"], image_dim or 0)}
    return {"image_model": image, "text_model": text}
