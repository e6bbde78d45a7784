"""Loads the reference data of `vit/`: Vision Transformers, hybrids with a ResNet and MLP-Mixers.

numpy and json only, so that the tests of any framework can share it. Trees are flat, {'a/b/kernel': array}, in the
linen layout of the published checkpoints; `synthetic.nest_dict` nests them. Configurations are flat dictionaries of
constructor arguments. The files, besides those of `Case` and `Checkpoint`:

* `manifest.json`: published configurations with parameter patterns and counts, and the layout of published files;
* `checkpoints/load_pretrained.{json,npz}`: what the reference makes of a checkpoint that does not fit the model;
* `layers.npz`: single operations on inputs small enough to show epsilons, and on sizes that show padding;
* `posembed/`: resized position embeddings; `images/`: preprocessed images; `augreg/`: a made-up index of checkpoints;
* `init_stats.json`: moments of freshly initialised parameters;
* `sensitivity.json`: how far typical mistakes move the stored logits.

Typical use::

    case = vit_loading.case("vit_token")
    logits = my_model(case.config, case.params)(case.images)
    np.testing.assert_allclose(logits, case.expected["logits"], atol=1e-5)
"""

import dataclasses
import functools
import json
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tests.golden import synthetic
from tests.golden.loading import Flat

FOLDER = Path(__file__).parent / "vit"

MIXER_FIELDS = ("hidden_dim", "num_blocks", "tokens_mlp_dim", "channels_mlp_dim")
VIT_FIELDS = ("hidden_size", "classifier", "representation_size")


@functools.cache
def facts(name: str) -> dict[str, Any]:
    """The content of `vit/<name>.json`. Shared between callers: do not change it."""
    return json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))


def arrays(name: str) -> Flat:
    """All arrays of `vit/<name>.npz`."""
    with np.load(FOLDER / f"{name}.npz") as file:
        return dict(file)


CONFIGS = tuple(facts("manifest")["configs"])
"""The published configurations."""

FULL_SIZE = tuple(facts("full/facts"))
"""Published configurations, two of them with another image size or head: logits and thinned intermediates."""

TINY = tuple(facts("tiny/facts"))
"""Tiny models: everything is stored, gradients included."""

CHECKPOINTS = tuple(facts("checkpoints/facts"))
"""Stand-ins for published files, in old and new naming."""


@dataclasses.dataclass(frozen=True)
class Case:
    """One stored model.

    Attributes:
        name: a name listed in `FULL_SIZE` or `TINY`.
        architecture: "VisionTransformer" or "MlpMixer".
        config: constructor arguments, `num_classes` included.
        params: parameters, float32, by '/'-joined path.
        images: (B, H, W, C) float32, to be used as they are.
        expected: what the reference computed in inference mode, possibly thinned:
            "logits"; "inter:<module>", the output of a module (dropout layers, which pass everything on, are left
            out); with full-size models "pre_logits", the input of the head; with tiny ones "labels" (one-hot),
            "loss", "grad_images", "grad:<path>". Of a model with representation_size, "inter:pre_logits" is the output
            of the dense layer, before tanh, whereas "pre_logits" comes after it.
        stored_strides: how `expected` was thinned, by key; tensors without an entry are whole.
    """

    name: str
    architecture: str
    config: dict[str, Any]
    params: Flat
    images: np.ndarray
    expected: Flat
    stored_strides: dict[str, tuple[int, ...]]

    @property
    def intermediates(self) -> Flat:
        """Outputs of modules, by the module's path."""
        return _after(self.expected, "inter:")

    @property
    def gradients(self) -> Flat:
        """Gradients of the loss, by the parameter's path; empty for full-size models."""
        return _after(self.expected, "grad:")

    def sample(self, key: str, array: np.ndarray) -> np.ndarray:
        """The part of a tensor that `expected[key]` holds."""
        return sample(array, self.stored_strides.get(key, ()))


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """A stand-in for a published file.

    Attributes:
        name: a name listed in `CHECKPOINTS`.
        path: the .npz file.
        architecture: "VisionTransformer" or "MlpMixer".
        config: constructor arguments, `num_classes` included.
        naming: "linen", "pre_linen" (sub-modules numbered over all classes), or "pre_linen_gn4d" (GroupNorm vectors
            of shape (1, 1, 1, C) besides).
        param_checksum: `synthetic.checksum` of the parameters.
        images: (2, H, W, 3) float32.
        logits: (2, num_classes) float32, what the reference computes for them.
    """

    name: str
    path: Path
    architecture: str
    config: dict[str, Any]
    naming: str
    param_checksum: float
    images: np.ndarray
    logits: np.ndarray


def case(name: str) -> Case:
    """The stored model of any name in `FULL_SIZE` or `TINY`; parameters are checked against their checksum."""
    folder = "tiny" if name in TINY else "full"
    entry = _stored(name)
    params = synthetic.tree(_case_shapes(name), entry["salt"])
    # A drifted generator would otherwise look like a wrong model.
    np.testing.assert_allclose(synthetic.checksum(params), entry["param_checksum"], rtol=1e-9)
    if name in TINY:
        image_shape, strides = entry["image_shape"], entry["stored_strides"]
    else:
        image_shape = (entry["batch"], entry["image_size"], entry["image_size"], 3)
        strides = {key: tensor["stored_strides"] for key, tensor in entry["tensors"].items()}
    return Case(
        name=name,
        architecture=architecture(name),
        config=config(name),
        params=params,
        images=synthetic.images(entry["images_seed"], tuple(image_shape)),
        expected=arrays(f"{folder}/{name}"),
        stored_strides={key: tuple(stride) for key, stride in strides.items()},
    )


def checkpoint(name: str) -> Checkpoint:
    """The stand-in of any name in `CHECKPOINTS`."""
    entry = facts("checkpoints/facts")[name]
    return Checkpoint(
        name=name,
        path=FOLDER / f"checkpoints/{name}.npz",
        architecture=_architecture(entry["config"]),
        config=flat_config(entry["config"], entry["num_classes"]),
        naming=entry["naming"],
        param_checksum=entry["param_checksum"],
        images=synthetic.images(42, (2, *entry["image_shape"])),
        logits=np.array(entry["logits_for_images_seed_42_batch_2"], np.float32),
    )


def architecture(name: str) -> str:
    """Architecture of a published configuration or a stored model: "VisionTransformer" or "MlpMixer"."""
    return _architecture(_nested_config(name))


def config(name: str) -> dict[str, Any]:
    """Constructor arguments of a published configuration (1000 classes) or a stored model."""
    entry = facts("manifest")["configs"][name] if name in CONFIGS else _stored(name)
    found = flat_config(_nested_config(name), entry["num_classes"])
    if name in FULL_SIZE and entry.get("representation_size"):
        found["representation_size"] = entry["representation_size"]
    return found


def flat_config(nested: Mapping[str, Any], num_classes: int) -> dict[str, Any]:
    """Constructor arguments from a configuration as the reference nests it (`patches`, `transformer`, `resnet`)."""
    height, width = nested["patches"]["size"]
    shared = {"num_classes": num_classes, "patch_size": height if height == width else (height, width)}
    if _architecture(nested) == "MlpMixer":
        return shared | {field: nested[field] for field in MIXER_FIELDS}
    found = shared | {field: nested[field] for field in VIT_FIELDS} | (nested["transformer"] or {"num_layers": None})
    if "resnet" in nested:
        found["resnet_num_layers"] = tuple(nested["resnet"]["num_layers"])
        found["resnet_width_factor"] = nested["resnet"]["width_factor"]
    return found


def shapes(
    name: str, num_classes: int = 1000, image_size: int = 224, representation_size: int | None = None
) -> dict[str, tuple[int, ...]]:
    """{path: shape} of the parameters of a published configuration.

    Args:
        name: a name listed in `CONFIGS`.
        num_classes: classes; 0 leaves out the head.
        image_size: side of the images in pixels, a multiple of the side of a token.
        representation_size: width of the layer before the head, None for none.

    Returns:
        Shapes in the linen layout.
    """
    entry = facts("manifest")["configs"][name]
    scale = image_size / entry["default_image_size"]
    found = {path: _resized(path, shape, scale) for path, shape in expand(entry["params"]).items()}
    (width, _), _ = found.pop("head/kernel"), found.pop("head/bias")
    if representation_size:
        found |= {"pre_logits/kernel": (width, representation_size), "pre_logits/bias": (representation_size,)}
    if num_classes:
        found |= {"head/kernel": (representation_size or width, num_classes), "head/bias": (num_classes,)}
    return found


def parameter_count(name: str) -> int:
    """Number of parameters that the reference reports for a published configuration with 1000 classes at 224 px."""
    return facts("manifest")["configs"][name]["param_count"]


def expand(patterns: Mapping[str, Sequence[int]]) -> dict[str, tuple[int, ...]]:
    """{path: shape} from patterns of the manifest, in which "block_{12}" stands for block_0 to block_11."""
    found = {}
    for pattern, shape in patterns.items():
        before, *repeated = re.split(r"\{(\d+)\}", pattern)
        if repeated:
            found |= {f"{before}{index}{repeated[1]}": tuple(shape) for index in range(int(repeated[0]))}
        else:
            found[pattern] = tuple(shape)
    return found


def sample(array: np.ndarray, strides: Sequence[int]) -> np.ndarray:
    """Every n-th entry along each axis, as the files store large tensors; without strides the whole array."""
    return array[tuple(slice(None, None, stride) for stride in strides)]


def _after(flat: Mapping[str, np.ndarray], prefix: str) -> Flat:
    return {key.removeprefix(prefix): value for key, value in flat.items() if key.startswith(prefix)}


def _architecture(nested: Mapping[str, Any]) -> str:
    return "MlpMixer" if "tokens_mlp_dim" in nested else "VisionTransformer"


def _stored(name: str) -> dict[str, Any]:
    return facts("tiny/facts")[name] if name in TINY else facts("full/facts")[name]


def _nested_config(name: str) -> dict[str, Any]:
    if name in TINY:
        return _stored(name)["config"]
    return facts("manifest")["configs"][name if name in CONFIGS else _stored(name)["config"]]["config"]


def _case_shapes(name: str) -> dict[str, tuple[int, ...]]:
    entry = _stored(name)
    if name in TINY:
        return expand(entry["params"])
    return shapes(entry["config"], entry["num_classes"], entry["image_size"], entry["representation_size"])


def _resized(path: str, shape: tuple[int, ...], scale: float) -> tuple[int, ...]:
    """The shape for images `scale` times as large: number of positions, or of tokens that a Mixer mixes."""
    if path.endswith("pos_embedding"):
        return shape[0], _tokens(shape[1], scale), shape[2]
    if path.endswith("token_mixing/Dense_0/kernel"):
        return _tokens(shape[0], scale), shape[1]
    if re.search(r"token_mixing/Dense_1/(kernel|bias)$", path):
        return *shape[:-1], _tokens(shape[-1], scale)
    return shape


def _tokens(old: int, scale: float) -> int:
    """Tokens of a scaled grid; whatever exceeds a square is a class token, which stays."""
    side = math.isqrt(old)
    return old - side**2 + round(side * scale) ** 2
