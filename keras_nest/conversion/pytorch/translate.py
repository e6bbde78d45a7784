"""Tensors of a PyTorch file -> our Flax tree."""

import re
from collections.abc import Mapping

import numpy as np

from keras_nest.conversion.names import Tree
from keras_nest.conversion.pytorch import rules

# What our models do not compute: pattern of a tensor's name -> what it is.
_REFUSED = {
    r"reg_token": "register tokens",
    r"blocks\.\d+\.(ls1|ls2)\.|.*(gamma_1|gamma_2)$|.*lambda1": "layer scale",
    r".*\.(q_norm|k_norm)\.": "normalized queries and keys",
    r"norm_pre\.": "a norm in front of the encoder",
    r"fc_norm\.": "a norm behind the mean of the tokens",
    r"dist_token|head_dist\.|.*distillation": "a distillation token",
    r"attn_pool\.": "attention pooling",
    r".*(rel_pos|relative_position)": "relative positions",
    r".*mask_token": "a mask token",
    r"decoder": "a decoder",
}


def family(names: Mapping[str, object]) -> str:
    """Which names these are: "nest", "mixer", "vit" of timm, or "transformers".

    Raises:
        ValueError: none of them.
    """
    patterns = {
        "nest": r"levels\.0\.transformer_encoder\.",
        "mixer": r"blocks\.0\.mlp_tokens\.",
        "vit": r"blocks\.0\.attn\.",
        "transformers": r"(vit\.)?(encoder\.layer|layers)\.0\.(attention|layernorm_before)\.",
    }
    for found, pattern in patterns.items():
        if any(re.match(pattern, name) for name in names):
            return found
    shown = ", ".join(list(names)[:3])
    raise ValueError(
        f"its tensors ({shown}, …) are not those of a NesT, ViT, hybrid or MLP-Mixer of timm, nor of a ViT of "
        "transformers"
    )


def to_flax(tensors: Mapping[str, np.ndarray], num_heads: int | None) -> Tree:
    """A file's tensors under our names, in float32.

    Args:
        tensors: under timm's or transformers' names.
        num_heads: heads of the (first level's) attention, which the tensors do not tell; a Mixer has none.

    Returns:
        "params/PATH" -> array.

    Raises:
        ValueError: other tensors, or of a model that ours do not compute.
    """
    tensors = {name: value for name, value in tensors.items() if value.dtype.kind not in "iub"}  # buffers, counters
    kind = family(tensors)
    _refuse(tensors)
    if kind != "mixer" and num_heads is None:
        raise ValueError("its tensors do not tell the number of heads; give the model's name, or a config.json beside")
    found, left = rules.apply(_rules(kind, tensors, num_heads or 1), tensors)
    if left:
        shown = ", ".join(left[:3]) + (f" and {len(left) - 3} more" if len(left) > 3 else "")
        raise ValueError(f"it holds {shown}, which no model here has")
    _fill_biases(found)
    return {f"params/{path}": np.asarray(value, np.float32) for path, value in found.items()}


def _rules(kind: str, tensors: Mapping[str, np.ndarray], heads: int) -> list[rules.Rule]:
    blocks = rules.count(tensors, r"blocks\.(\d+)\.")
    if kind == "nest":
        levels = rules.count(tensors, r"levels\.(\d+)\.")
        depths = [rules.count(tensors, rf"levels\.{level}\.transformer_encoder\.(\d+)\.") for level in range(levels)]
        width = tensors["patch_embed.proj.weight"].shape[0] if "patch_embed.proj.weight" in tensors else heads
        return list(rules.nest(depths, _head(width, heads)))
    if kind == "mixer":
        return list(rules.mixer(blocks))
    if kind == "vit":
        qkv = next((value for name, value in tensors.items() if name.endswith("attn.qkv.weight")), None)
        _head(heads if qkv is None else qkv.shape[-1], heads)
        return list(rules.vit(blocks, heads, _stages(tensors)))
    prefix = "vit." if any(name.startswith("vit.") for name in tensors) else ""
    in_memory = any(name.startswith(f"{prefix}layers.") for name in tensors)
    depth = rules.count(tensors, rf"{prefix}(?:encoder\.layer|layers)\.(\d+)\.")
    width = next(value.shape[0] for name, value in tensors.items() if name.endswith("layernorm_before.weight"))
    _head(width, heads)
    return list(rules.transformers_vit(depth, heads, in_memory, prefix))


def _head(width: int, heads: int) -> int:
    """Channels of a head."""
    if width % heads:
        raise ValueError(f"its {width} channels do not divide into {heads} heads; is it another model?")
    return width // heads


def _stages(tensors: Mapping[str, np.ndarray]) -> list[int] | None:
    """Units of each stage of a hybrid's ResNet; None without one."""
    backbone = r"patch_embed\.backbone\."
    if not any(re.match(backbone, name) for name in tensors):
        return None
    stages = rules.count(tensors, rf"{backbone}stages\.(\d+)\.")
    return [rules.count(tensors, rf"{backbone}stages\.{stage}\.blocks\.(\d+)\.") for stage in range(stages)]


def _refuse(tensors: Mapping[str, np.ndarray]) -> None:
    for name in tensors:
        for pattern, what in _REFUSED.items():
            if re.match(pattern, name):
                raise ValueError(f"its model has {what} ({name}), which the models here do not compute")


def _fill_biases(found: dict[str, np.ndarray]) -> None:
    """A ViT without biases of query, key and value computes the same with zeros."""
    for path in list(found):
        if match := re.fullmatch(r"(.*/MultiHeadDotProductAttention_0/(query|key|value))/kernel", path):
            found.setdefault(f"{match[1]}/bias", np.zeros(found[path].shape[1:], np.float32))
