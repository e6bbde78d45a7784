"""Our models as directories that timm (`local-dir:`) and transformers open."""

import json
import os
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from keras_nest import registry
from keras_nest.conversion.names import model_tree
from keras_nest.conversion.pytorch import rules
from keras_nest.conversion.pytorch.config_file import PROBLEM_TYPES, timm_architectures
from keras_nest.conversion.pytorch.files import CONFIG, IN_DIRECTORIES, PREPROCESSOR
from keras_nest.conversion.pytorch.safetensors_file import write_safetensors
from keras_nest.conversion.save import refuse_quantized, warn_of_task
from keras_nest.models import PublishedModel
from keras_nest.models.answers import task_of
from keras_nest.outputs import output_at
from keras_nest.specs import PreprocessingSpec
from keras_nest.targets import SINGLE_LABEL

Config = Mapping[str, Any]


def write_timm(model: PublishedModel, directory: str | os.PathLike[str], overwrite: bool = False) -> int:
    """Writes model.safetensors and config.json, for `timm.create_model("local-dir:DIRECTORY", pretrained=True)`.

    Args:
        model: a ViT; or a NesT, hybrid or MLP-Mixer of a published size, with any head and images.
        directory: where, on this machine or at an address (gs://…); it appears complete or not at all.
        overwrite: replace what lies there.

    Returns:
        Number of tensors written.

    Raises:
        ValueError: timm has no model that computes the same.
        FileExistsError: something lies there and `overwrite` is false.
    """
    kind = type(model).__name__
    describe = {"NesT": _nest, "VisionTransformer": _vit, "MlpMixer": _mixer}
    if kind not in describe:
        raise ValueError(
            f"timm has no model that computes what a {kind} does; a NesT, ViT, hybrid or Mixer is written."
        )
    _refuse_features(model, "timm")
    warn_of_task(model, os.fspath(directory))
    architecture, args = describe[kind](model.config, model)
    config = {
        "architecture": architecture,
        "num_classes": model.num_classes,
        "global_pool": args.get("global_pool", "token" if kind == "VisionTransformer" else "avg"),
        "model_args": {**args, "num_classes": model.num_classes},
        "pretrained_cfg": _settings(model, architecture),
    }
    return _write(timm_tensors(model), {CONFIG: config}, directory, overwrite)


def timm_tensors(model: PublishedModel) -> dict[str, np.ndarray]:
    """The tensors of a NesT, ViT, hybrid or MLP-Mixer under timm's names, in its layout.

    Raises:
        ValueError: timm's model has no place for one of them.
    """
    return _theirs(model, _rules(model))


def write_transformers(model: PublishedModel, directory: str | os.PathLike[str], overwrite: bool = False) -> int:
    """Writes a ViT for `transformers.ViTForImageClassification.from_pretrained(DIRECTORY)`, or `ViTModel` without head.

    Args:
        model: a ViT with a class token and square images.
        directory: where, on this machine or at an address (gs://…); it appears complete or not at all.
        overwrite: replace what lies there.

    Returns:
        Number of tensors written.

    Raises:
        ValueError: transformers has no model that computes the same.
        FileExistsError: something lies there and `overwrite` is false.
    """
    config = model.config
    if type(model).__name__ != "VisionTransformer":
        raise ValueError(f"The ViT of transformers does not compute what a {type(model).__name__} does.")
    _refuse_features(model, "transformers")
    representation = config["representation_size"]
    pooled = representation == config["hidden_size"] and not model.num_classes
    _require("transformers", config["classifier"] == "token", 'classifier="token"', config["classifier"])
    _require("transformers", config["resnet_num_layers"] is None, "no ResNet in front", config["resnet_num_layers"])
    _require("transformers", representation is None or pooled, "no pre_logits in front of a head", representation)
    _check_patches("transformers", model)
    if not model.num_classes and not pooled:
        raise ValueError(
            "A ViTModel of transformers ends with its pooler (pre_logits), or has a head; this has neither."
        )
    prefix = "vit." if model.num_classes else ""
    tensors = _theirs(model, rules.transformers_vit(config["num_layers"], config["num_heads"], prefix=prefix))
    described = {
        "architectures": ["ViTForImageClassification" if model.num_classes else "ViTModel"],
        "model_type": "vit",
        "hidden_size": config["hidden_size"],
        "num_hidden_layers": config["num_layers"],
        "num_attention_heads": config["num_heads"],
        "intermediate_size": config["mlp_dim"],
        "hidden_act": "gelu" if config["activation"] == "gelu" else "gelu_pytorch_tanh",
        "layer_norm_eps": 1e-6,
        "image_size": _one_or_two(model.image_size),
        "patch_size": _one_or_two(config["patch_size"]),
        "num_channels": config["in_channels"],
        "qkv_bias": True,
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
        "pooler_output_size": config["hidden_size"],
        "pooler_act": "tanh",
        "id2label": {str(i): f"LABEL_{i}" for i in range(model.num_classes)},
        "label2id": {f"LABEL_{i}": i for i in range(model.num_classes)},
        **({"problem_type": PROBLEM_TYPES[task_of(model)]} if task_of(model) != SINGLE_LABEL else {}),
    }
    return _write(tensors, {CONFIG: described, PREPROCESSOR: _preprocessor(model)}, directory, overwrite)


def _write(
    tensors: Mapping[str, np.ndarray], texts: Mapping[str, Config], directory: str | os.PathLike[str], overwrite: bool
) -> int:
    with output_at(directory, overwrite) as partial:
        partial.mkdir()
        with open(partial / IN_DIRECTORIES[0], "wb") as file:
            write_safetensors(tensors, file)
        for name, content in texts.items():
            (partial / name).write_text(json.dumps(content, indent=1) + "\n", "utf-8")
    return len(tensors)


def _theirs(model: PublishedModel, wanted: Any) -> dict[str, np.ndarray]:
    refuse_quantized(model)
    tree = {path.removeprefix("params/"): value for path, value in model_tree(model).items()}
    tensors, left = rules.apply(wanted, tree, back=True)
    if left:
        raise ValueError(f"PyTorch's model has nothing for {', '.join(left[:3])}.")
    return tensors


def _rules(model: PublishedModel) -> Any:
    config = model.config
    if type(model).__name__ == "NesT":
        return rules.nest(config["num_layers_per_block"], config["embedding_dim"] // config["num_heads"])
    if type(model).__name__ == "MlpMixer":
        return rules.mixer(config["num_blocks"])
    return rules.vit(config["num_layers"], config["num_heads"], config["resnet_num_layers"])


def _nest(config: Config, model: PublishedModel) -> tuple[str, dict[str, Any]]:
    _require("timm", config["attn_type"] == "local_multi_head", 'attn_type="local_multi_head"', config["attn_type"])
    _require("timm", config["norm_type"] == "LN", 'norm_type="LN"', config["norm_type"])
    height, width = model.image_size
    _require("timm", height == width, "square images", f"{height} x {width}")
    _require_exact_gelu(config)
    levels, scale = len(config["num_layers_per_block"]), config["scale_hidden_dims"] or 1
    args = {
        "img_size": height,
        "patch_size": config["init_patch_embed_size"],
        "in_chans": config["in_channels"],
        "num_levels": levels,
        "embed_dims": [config["embedding_dim"] * scale**level for level in range(levels)],
        "num_heads": [config["num_heads"] * scale**level for level in range(levels)],
        "depths": list(config["num_layers_per_block"]),
        "mlp_ratio": config["mlp_ratio"],
        "qkv_bias": config["qkv_bias"],
        "pad_type": "same",
    }
    sizes = ("embedding_dim", "num_heads", "num_layers_per_block", "scale_hidden_dims")
    return _published(_architecture(config, "", sizes), "NesTs", args, ("embed_dims", "num_heads", "depths"))


def _mixer(config: Config, model: PublishedModel) -> tuple[str, dict[str, Any]]:
    _require_exact_gelu(config)
    _check_patches("timm", model)
    args = {
        "img_size": _one_or_two(model.image_size),
        "patch_size": _one_or_two(config["patch_size"]),
        "in_chans": config["in_channels"],
        "embed_dim": config["hidden_dim"],
        "num_blocks": config["num_blocks"],
        "mlp_ratio": [config[field] / config["hidden_dim"] for field in ("tokens_mlp_dim", "channels_mlp_dim")],
    }
    architecture = _architecture(config, "", ("hidden_dim", "num_blocks", "patch_size"))
    return _published(architecture, "Mixers", args, ("embed_dim", "num_blocks", "patch_size"))


def _vit(config: Config, model: PublishedModel) -> tuple[str, dict[str, Any]]:
    _require("timm", config["classifier"] in ("token", "gap"), 'classifier="token" or "gap"', config["classifier"])
    _require("timm", config["representation_size"] is None, "no pre_logits", config["representation_size"])
    _require("timm", bool(config["num_layers"]), "at least one encoder layer", config["num_layers"])
    args: dict[str, Any] = {"img_size": _one_or_two(model.image_size), "in_chans": config["in_channels"]}
    args |= {"act_layer": "gelu_tanh"} if config["activation"] == "gelu_tanh" else {}
    told = ("hidden_size", "num_layers", "num_heads", "mlp_dim", "patch_size", "resnet_num_layers")
    if config["resnet_num_layers"] is not None:
        architecture = _architecture(config, "", told)
        as_published = architecture and config["resnet_width_factor"] == 1 and config["classifier"] == "token"
        _require("timm", bool(as_published), "hybrids of the published sizes", config["resnet_num_layers"])
        variant = config["resnet_variant"]
        _require("timm", variant == "timm", 'resnet_variant="timm" (another standardization of kernels)', variant)
        return architecture, args
    _check_patches("timm", model)
    gap = config["classifier"] == "gap"
    args |= {
        "patch_size": _one_or_two(config["patch_size"]),
        "embed_dim": config["hidden_size"],
        "depth": config["num_layers"],
        "num_heads": config["num_heads"],
        "mlp_ratio": config["mlp_dim"] / config["hidden_size"],
        "class_token": not gap,
        "global_pool": "avg" if gap else "token",
        "fc_norm": False,
    }
    return _architecture(config, "vit_base_patch16_224", told), args


def _architecture(config: Config, otherwise: str, fields: tuple[str, ...]) -> str:
    """The architecture of timm with these sizes, or another one that takes them as arguments."""
    for architecture, name in timm_architectures().items():
        published = registry.resolve(name)[2]
        if all(published.get(field) == config[field] for field in fields) and "_gap_" not in architecture:
            return architecture
    return otherwise


def _published(architecture: str, kind: str, args: dict[str, Any], own: tuple[str, ...]) -> tuple[str, dict[str, Any]]:
    """The functions of timm for NesT and Mixer set their own sizes, and fail where an argument sets them again."""
    _require("timm", bool(architecture), f"{kind} of the published sizes", {name: args[name] for name in own})
    return architecture, {name: value for name, value in args.items() if name not in own}


def _settings(model: PublishedModel, architecture: str) -> dict[str, Any]:
    """Evaluation preprocessing as timm has it."""
    settings: dict[str, Any] = {
        "architecture": architecture,
        "num_classes": model.num_classes,
        "input_size": [model.config["in_channels"], *model.image_size],
        "crop_mode": "center",
        "crop_pct": 1.0,
    }
    if fields := model.config.get("preprocessing"):
        spec = PreprocessingSpec.from_dict(fields).broadcast(model.config["in_channels"])
        settings |= {"mean": list(spec.mean), "std": list(spec.std), "interpolation": spec.interpolation}
        settings |= {"crop_mode": "squash"} if spec.stretch else {"crop_pct": spec.crop_ratio}
    return settings


def _preprocessor(model: PublishedModel) -> dict[str, Any]:
    fields = model.config.get("preprocessing") or {"mean": [0.5], "std": [0.5], "stretch": True}
    spec = PreprocessingSpec.from_dict(fields).broadcast(model.config["in_channels"])
    height, width = model.image_size
    return {
        "image_processor_type": "ViTImageProcessor",
        "do_normalize": True,
        "do_rescale": True,
        "do_resize": True,
        "image_mean": list(spec.mean),
        "image_std": list(spec.std),
        "resample": 3 if spec.interpolation == "bicubic" else 2,
        "size": {"height": height, "width": width},
    }


def _refuse_features(model: PublishedModel, program: str) -> None:
    for field in ("features_only", "classifier_activation"):
        if model.config.get(field):
            raise ValueError(f"{program} has no model with {field}; write the classifier without.")


def _require(program: str, holds: bool, wanted: str, found: Any) -> None:
    if not holds:
        raise ValueError(f"{program} builds such a model with {wanted} only, and this one has {found!r}.")


def _require_exact_gelu(config: Config) -> None:
    if config["activation"] != "gelu":
        raise ValueError(
            "timm builds such a model with the exact GELU only, and this one has the approximation of JAX; with "
            'activation="gelu" (--set activation=gelu) it is another model, by about 1e-3 in its logits, and can be '
            "written."
        )


def _check_patches(program: str, model: PublishedModel) -> None:
    """Refuses images that do not divide into patches."""
    patch = model.config["patch_size"]
    sides = (patch, patch) if isinstance(patch, int) else patch
    divides = all(side % unit == 0 for side, unit in zip(model.image_size, sides, strict=True))
    _require(program, divides, "images that divide into patches", model.image_size)


def _one_or_two(size: Any) -> Any:
    """One side for both where they are the same."""
    sides = (size, size) if isinstance(size, int) else tuple(size)
    return sides[0] if sides[0] == sides[1] else list(sides)


Writer = Callable[[PublishedModel, str, bool], int]
WRITERS: dict[str, Writer] = {"timm": write_timm, "transformers": write_transformers}
