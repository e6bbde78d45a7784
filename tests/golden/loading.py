"""Loads the reference data of `nest/`: every stored model with its parameters, images and expected outputs.

numpy and json only, so that the tests of any framework can share it. Trees are flat, {'a/b/kernel': array}, in the
layout of the published checkpoints; `synthetic.nest_dict` nests them. What the files hold is described in the README
of the reference data.

Typical use::

    case = loading.case("small_mh")
    logits = my_model(case.config, case.params)(case.images)
    np.testing.assert_allclose(logits, case.expected["logits"], atol=2e-5)
"""

import dataclasses
import functools
import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tests.golden import synthetic

Flat = dict[str, np.ndarray]

FOLDER = Path(__file__).parent / "nest"

SMALL = (
    "small_mh",
    "small_mh_scale2",
    "small_mq",
    "small_mq_scale2",
    "small_mh_scale2_nobias",
    "small_mq_nobias_mlp2",
    "small_mh_bn",
    "small_mh_gn",
)
"""Small official models: everything is stored, gradients included."""

PROBES = ("epsilon_probe", "drop_path")
"""Small official models that exercise one behaviour."""

VARIANTS = (
    "nest_tiny_s196_224",
    "nest_small_s196_224",
    "nest_base_s196_224",
    "nest_tiny_s16_32",
    "nest_small_s16_32",
    "nest_base_s16_32",
)
"""The six published models: logits and samples of the level maps are stored."""

AT_384 = ("nest_tiny_s196_224_at384", "nest_tiny_s196_224_resized_to384")
"""Tiny at 384x384: parameters drawn for that size, and position embeddings resized from 224."""

CHECKPOINTS = ("checkpoint_tiny", "checkpoint_bn", "checkpoint_tiny_resized")
"""Trained models; the last is the first with resized position embeddings, as the official fine-tuning loads it."""

VIT_FLAX = ("vit_flax_tiny", "vit_flax_other")
"""Small vit-flax models, gradients included; further: `vit_flax_readme` (full size), `vit_flax_epsilon_probe`."""


@dataclasses.dataclass(frozen=True)
class Case:
    """One stored model.

    Attributes:
        name: file name without its ending, e.g. "small_mh".
        architecture: "NesT" (official) or "ViTFlaxNesT".
        config: fields under the reference's own names, `num_classes` included.
        params: parameters, float32, by '/'-joined path.
        batch_stats: running statistics, float32, by path inside `batch_stats`; empty without BatchNorm.
        images: (B, H, W, 3) float32, to be used as they are.
        expected: what the reference computed, under the keys of the .npz file.
    """

    name: str
    architecture: str
    config: dict[str, Any]
    params: Flat
    batch_stats: Flat
    images: np.ndarray
    expected: Flat

    @property
    def levels(self) -> int:
        """Number of levels of the hierarchy."""
        if self.architecture == "ViTFlaxNesT":
            return self.config["num_hierarchies"]
        return len(self.config["num_layers_per_block"])


def arrays(name: str) -> Flat:
    """All arrays of `nest/<name>.npz`."""
    with np.load(FOLDER / f"{name}.npz") as file:
        return dict(file)


@functools.cache
def facts(name: str) -> dict[str, Any]:
    """The content of `nest/<name>.json`. Shared between callers: do not change it."""
    return json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))


def below(flat: Mapping[str, np.ndarray], prefix: str) -> Flat:
    """The entries under `prefix` + '/', named relative to it."""
    start = prefix + "/"
    return {path.removeprefix(start): value for path, value in flat.items() if path.startswith(start)}


def case(name: str) -> Case:
    """The stored model of any name listed in the constants above; parameters are checked against their checksum."""
    if name.startswith("vit_flax"):
        return _vit_flax(name)
    if name.startswith("checkpoint"):
        return _checkpoint(name)
    if name.startswith("nest_"):
        return _full_size(name)
    return _small(name)


def architecture(name: str) -> str:
    """Name of the architecture of a stored model: "NesT" or "ViTFlaxNesT"."""
    return "ViTFlaxNesT" if name.startswith("vit_flax") else "NesT"


def config(name: str) -> dict[str, Any]:
    """The configuration of a stored model under the reference's own field names, with `num_classes`."""
    if name == "vit_flax_epsilon_probe":
        return config(f"vit_flax_{_vit_flax_entry(name)['config']}")
    if name.startswith("vit_flax"):
        return dict(_vit_flax_entry(name)["config"])
    if name.startswith("checkpoint"):
        entry = facts("checkpoints")["checkpoints"][name.removesuffix("_resized")]
        changes = facts("checkpoints")["finetune_from_checkpoint_tiny"]["config"] if name.endswith("_resized") else {}
    elif name.startswith("nest_"):
        entry = facts("manifest")["variants"][_variant(name)]
        changes = facts("manifest")[AT_384[0]]["config_override"] if name in AT_384 else {}
    else:
        entry, changes = _small_entry(name), {}
    return entry["config"] | {"num_classes": entry["num_classes"]} | changes


def shapes(name: str) -> dict[str, tuple[int, ...]]:
    """{path: shape} of the parameters of a published variant, of its `_at384` form or of a small or vit-flax model."""
    if name.startswith("nest_"):
        manifest = facts("manifest")
        found = dict(manifest["variants"][name.removesuffix("_at384")]["params"])
        if name.endswith("_at384"):
            found |= manifest[name]["changed_shapes"]
    elif name.startswith("vit_flax_"):
        found = _vit_flax_entry(name)["params"]
    else:
        found = _small_entry(name).get("params") or shapes("small_mh_scale2")
    return {path: tuple(shape) for path, shape in found.items()}


def parameter_count(name: str) -> int:
    """Number of parameters the reference reports for a model that `shapes` knows."""
    if name.endswith("_at384"):
        return facts("manifest")[name]["param_count"]
    if name.startswith("nest_"):
        return facts("manifest")["variants"][name]["param_count"]
    entry = _vit_flax_entry(name) if name.startswith("vit_flax_") else _small_entry(name)
    return entry["param_count"]


def level_sample(level_map: np.ndarray, stride: np.ndarray) -> np.ndarray:
    """The part of a (B, H, W, C) map that the full-size files store as `level{i}_sample`."""
    return level_map[:, :: stride[0], :: stride[1], :: stride[2]]


def zero_gradient(case: Case, path: str, train: bool = False) -> np.ndarray:
    """Where the gradient of a parameter is zero in exact arithmetic, so that its stored value is rounding noise.

    Args:
        case: the model.
        path: path of the parameter.
        train: whether the gradient belongs to the training-mode pass (BatchNorm then subtracts the batch mean).

    Returns:
        Boolean array of the parameter's shape.
    """
    shape = case.params[path].shape
    mask = np.zeros(shape, bool)
    if re.search(r"MultiHeadAttention_0/DenseGeneral_1/bias$|MultiQueryAttention_0/Dense_0/bias$", path):
        mask[..., : shape[-1] // 2] = True  # the key half: softmax ignores a constant in all scores of a query
    if train and case.config.get("norm_type") == "BN" and _shifts_last_level(case, path):
        mask[:] = True
    if case.architecture == "ViTFlaxNesT" and path == f"Transformer_{case.levels - 1}/pos_emb":
        mask[:] = True
    return mask


def resize_position_embedding(embedding: np.ndarray, ratio: float) -> np.ndarray:
    """Zooms each block of (1, T, N, C) float32 linearly, corners onto corners, to ceil(side * ratio) tokens a side."""
    batch, blocks, tokens, channels = embedding.shape
    side = math.isqrt(tokens)
    new_side = int(np.ceil(np.float32(side) * np.float32(ratio)))
    grid = embedding.astype(np.float64).reshape(batch, blocks, side, side, channels)
    grid = _zoom(_zoom(grid, new_side, axis=2), new_side, axis=3)
    return grid.reshape(batch, blocks, new_side**2, channels).astype(np.float32)


def _zoom(x: np.ndarray, size: int, axis: int) -> np.ndarray:
    position = np.linspace(0, x.shape[axis] - 1, size)
    low = np.minimum(position.astype(int), max(x.shape[axis] - 2, 0))
    high = np.minimum(low + 1, x.shape[axis] - 1)
    weight = np.expand_dims(position - low, tuple(range(1, x.ndim - axis)))
    return x.take(low, axis) * (1 - weight) + x.take(high, axis) * weight


def _shifts_last_level(case: Case, path: str) -> bool:
    """Whether the parameter only adds a constant per channel to what the last level's BatchNorms see.

    In earlier levels the zero padding of the pooling convolution tells such constants apart.
    """
    first_of_last_level = sum(case.config["num_layers_per_block"][:-1])
    if path == f"ConvPool_{case.levels - 2}/LayerNorm_0/bias":
        return True
    value = r"MultiHeadAttention_0/DenseGeneral_1|MultiQueryAttention_0/Dense_0"
    output = r"Multi(?:Head|Query)Attention_0|MlpBlock_0/Dense_1"
    found = re.fullmatch(rf"EncoderNDBlock_(\d+)/(?:{value}|{output})/bias", path)
    return found is not None and int(found[1]) >= first_of_last_level


def _variant(name: str) -> str:
    return re.sub(r"_(at|resized_to)384$", "", name)


def _small_entry(name: str) -> dict[str, Any]:
    return facts("small_configs")["configs"][name.removeprefix("small_")]


def _vit_flax_entry(name: str) -> dict[str, Any]:
    return facts("vit_flax")["models"][name.removeprefix("vit_flax_")]


def _checked(flat: Flat, checksum: float) -> Flat:
    """The same tree, once its sum agrees: a drifted generator would otherwise look like a wrong model."""
    np.testing.assert_allclose(synthetic.checksum(flat), checksum, rtol=1e-9, err_msg="parameters differ from stored")
    return flat


def _shrunk(flat: Flat, entry: Mapping[str, Any]) -> Flat:
    """Parameters of an epsilon probe: what feeds a LayerNorm becomes so small that epsilon matters."""
    pattern, factor = re.compile(entry["shrunk_paths_regex"]), np.float32(entry["factor"])
    return {path: value * factor if pattern.match(path) else value for path, value in flat.items()}


def _images(expected: Flat) -> np.ndarray:
    seed = expected["images_seed" if "images_seed" in expected else "seed"]
    return synthetic.images(int(seed), tuple(expected["image_shape"]))


def _case(name: str, params: Flat, expected: Flat, images: np.ndarray, batch_stats: Flat | None = None) -> Case:
    return Case(name, architecture(name), config(name), params, batch_stats or {}, images, expected)


def _small(name: str) -> Case:
    entry, expected = _small_entry(name), arrays(name)
    salt = str(expected["salt"])
    params = synthetic.tree(shapes(name), salt)
    if name == "epsilon_probe":
        params = _shrunk(_checked(params, expected["params_checksum_before_shrinking"]), entry)
    else:
        params = _checked(params, expected["params_checksum"])
    return _case(name, params, expected, _images(expected), synthetic.tree(entry.get("batch_stats", {}), salt))


def _full_size(name: str) -> Case:
    expected = arrays(name)
    salt = str(expected["salt"])
    if name.endswith("_resized_to384"):
        params = _resized(synthetic.tree(shapes(_variant(name)), salt), float(expected["ratio"]))
        params = _checked(params, expected["params_checksum_after_resize"])
    else:
        params = _checked(synthetic.tree(shapes(name), salt), expected["params_checksum"])
    return _case(name, params, expected, _images(expected))


def _resized(flat: Flat, ratio: float) -> Flat:
    return {
        path: resize_position_embedding(value, ratio) if path.startswith("PositionEmbedding_") else value
        for path, value in flat.items()
    }


def _checkpoint(name: str) -> Case:
    saved_name = name.removesuffix("_resized")
    entry, saved = facts("checkpoints")["checkpoints"][saved_name], arrays(saved_name)
    params = _checked(below(saved, "optimizer/target"), entry["params_checksum"])
    seed, image_shape, logits = entry["eval_seed"], entry["eval_image_shape"], entry["eval_logits"]
    if name.endswith("_resized"):
        loaded = facts("checkpoints")["finetune_from_checkpoint_tiny"]
        kept_head = loaded["by_reinit_head"]["None"]
        params = _checked(params | arrays(name), kept_head["params_checksum"])
        seed, image_shape, logits = loaded["image_seed"], loaded["image_shape"], kept_head["logits"]
    images = synthetic.images(seed, tuple(image_shape))
    expected = {"logits": np.array(logits, np.float32)}
    return _case(name, params, expected, images, below(saved, "model_state/batch_stats"))


def _vit_flax(name: str) -> Case:
    entry, expected = _vit_flax_entry(name), arrays(name)
    salt = str(expected["salt"])
    if name == "vit_flax_epsilon_probe":
        params = synthetic.tree(shapes(f"vit_flax_{entry['config']}"), salt)
        params = _shrunk(_checked(params, expected["params_checksum_before_shrinking"]), entry)
    else:
        params = _checked(synthetic.tree(shapes(name), salt), expected["params_checksum"])
    return _case(name, params, expected, _images(expected))
