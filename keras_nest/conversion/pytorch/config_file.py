"""What config.json says of a model beside the weights: all that tensors do not tell."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from keras_nest import registry
from keras_nest.models import PublishedModel, VisionTransformer
from keras_nest.models.timm import architecture_of, timm_models
from keras_nest.targets import MULTI_LABEL, REGRESSION, SINGLE_LABEL
from keras_nest.types import Size
from keras_nest.untrusted.json_text import parse_object

_GELUS = {
    **{"gelu": "gelu", "gelu_erf": "gelu"},
    **{"gelu_tanh": "gelu_tanh", "gelu_new": "gelu_tanh", "gelu_pytorch_tanh": "gelu_tanh"},
}
# Beside those of the table, that others train.
_ARCHITECTURES = {"vit_base_patch16_gap_224": "ViT-B_16-gap-norep"}
# Arguments of timm's models that change no output after training.
_WITHOUT_EFFECT = {
    *("drop_rate", "drop_path_rate", "attn_drop_rate", "proj_drop_rate", "pos_drop_rate", "patch_drop_rate"),
    *("weight_init", "fix_init", "dynamic_img_size", "strict_img_size", "nlhb", "stem_drop_rate", "num_levels"),
}
# Those that mean something when they are off.
_ON = {"proj_bias", "final_norm"}
_REASONS = {
    "reg_tokens": "register tokens",
    "init_values": "layer scale",
    "qk_norm": "normalized queries and keys",
    "pre_norm": "a norm in front of the encoder",
    "fc_norm": "a norm behind the mean of the tokens",
    "no_embed_class": "a class token without position embedding",
}
PROBLEM_TYPES = {
    SINGLE_LABEL: "single_label_classification",
    MULTI_LABEL: "multi_label_classification",
    REGRESSION: "regression",
}
"""What transformers call the tasks."""
ASSUMED_GELU = (
    'The GELU is the exact one, as PyTorch models have it; activation="gelu_tanh" is the approximation that weights '
    "from JAX were trained with."
)


@dataclasses.dataclass(frozen=True)
class Told:
    """What is known of a model before its tensors are.

    Attributes:
        name: full published name of the model that it is, or that it differs from in `fields`.
        fields: of our model.
        image_size: height and width; None where it is not told.
        published_head: the head is one that was published.
        assumed: a sentence for what is taken for granted.
        resize_method: how the program that wrote it resizes position embeddings.
        class_names: of its head, where the file has real ones.
        task: one of `keras_nest.choices.TASKS`, what the head tells.
    """

    name: str
    fields: dict[str, Any]
    image_size: Size | None
    published_head: bool
    assumed: tuple[str, ...] = ()
    resize_method: str = "block"
    class_names: tuple[str, ...] | None = None
    task: str = SINGLE_LABEL

    @property
    def num_heads(self) -> int | None:
        """Heads of the (first level's) attention."""
        return self.fields.get("num_heads", registry.resolve(self.name)[2].get("num_heads"))


def without_config(name: str) -> dict[str, Any]:
    """Fields of a model of PyTorch whose name alone is known."""
    _, architecture, fields = registry.resolve(name)
    return registry.timm_fields(architecture, fields)


def read_config(text: bytes, preprocessor: bytes | None = None) -> Told | None:
    """What a config.json says; None where it is no model's of timm or transformers.

    Args:
        text: its content.
        preprocessor: that of the preprocessor_config.json beside it, if there is one.

    Raises:
        ValueError: it is damaged, or says of a model that ours do not compute; the message goes on after "config.json".
    """
    config = parse_object(text)
    try:
        if "architecture" in config:
            return _timm(config)
        if config.get("model_type") == "vit" and "hidden_size" in config:
            return _transformers(config, parse_object(preprocessor or b"{}"))
    except (TypeError, KeyError, IndexError, AttributeError, ArithmeticError):
        raise ValueError("holds values of another kind than models have") from None
    return None


def timm_resizing(architecture: type[PublishedModel]) -> str:
    """The method of `RESIZE_METHODS` that timm has for a class of models; it resizes ViT's position embeddings only."""
    return "timm" if issubclass(architecture, VisionTransformer) else "block"


def timm_architectures() -> dict[str, str]:
    """Architectures of timm -> full published names; of sizes of one model each."""
    return {architecture_of(name): theirs.model for name, theirs in timm_models().items()} | _ARCHITECTURES


def _timm(config: Mapping[str, Any]) -> Told:
    name = str(config["architecture"]).partition(".")[0]
    args = dict(config.get("model_args") or {})
    settings = config.get("pretrained_cfg") or {}
    if name in ("nest_tiny", "nest_small", "nest_base") or (name.startswith("nest_") and args.get("pad_type") == ""):
        raise ValueError(
            f"says that it is {name} with symmetric padding, which the models here do not compute; the published ones "
            "are timm's nest_…_jx"
        )
    if name not in timm_architectures():
        raise ValueError(f"says that it is timm's {name}, which is none of the models here")
    full_name, architecture, fields = registry.resolve(timm_architectures()[name])
    translate = {"NesT": _nest, "VisionTransformer": _vit, "MlpMixer": _mixer}[architecture.__name__]
    told = registry.timm_fields(architecture, fields)
    assumed = () if "act_layer" in args else (ASSUMED_GELU,)
    told["activation"] = _gelu(args.pop("act_layer", None) or "gelu")
    pool = args.pop("global_pool", None) or config.get("global_pool")
    size = args.pop("img_size", None) or (settings.get("input_size") or [None, None])[1:]
    told |= {ours: args.pop(theirs) for theirs, ours in (("in_chans", "in_channels"),) if theirs in args}
    args.pop("num_classes", None)  # the head tells
    told |= translate(args, fields, pool)
    _refuse_rest(args)
    told |= _preprocessing(settings)
    theirs = timm_models().get(f"{name}.{settings.get('tag')}")
    known = theirs is not None and theirs.num_classes == config.get("num_classes")
    labels = config.get("label_names")
    names = _class_names(dict(enumerate(labels))) if isinstance(labels, list) else None
    return Told(full_name, told, _size(size), known and not labels, assumed, timm_resizing(architecture), names)


def _vit(args: dict[str, Any], fields: Mapping[str, Any], pool: str | None) -> dict[str, Any]:
    class_token = args.pop("class_token", fields.get("classifier") != "gap")
    pool = pool or ("token" if class_token else "avg")
    if (class_token, pool) not in ((True, "token"), (False, "avg")):
        beside = "beside a class token" if class_token else "without a class token"
        raise ValueError(f"says that the head sees the pooling {pool!r} {beside}, which the models here do not compute")
    told: dict[str, Any] = {"classifier": "token" if class_token else "gap"}
    renamed = {"embed_dim": "hidden_size", "depth": "num_layers", "num_heads": "num_heads", "patch_size": "patch_size"}
    told |= {ours: _plain(args.pop(theirs)) for theirs, ours in renamed.items() if theirs in args}
    width = told.get("hidden_size", fields["hidden_size"])
    told["mlp_dim"] = int(width * args.pop("mlp_ratio", fields["mlp_dim"] / fields["hidden_size"]))
    if "layers" in args:
        told["resnet_num_layers"] = tuple(args.pop("layers"))
    if "stem_chs" in args:
        told["resnet_width_factor"] = args.pop("stem_chs") / 64
    args.pop("qkv_bias", None)  # zeros compute the same
    return told


def _nest(args: dict[str, Any], fields: Mapping[str, Any], pool: str | None) -> dict[str, Any]:
    if pool not in (None, "avg"):
        raise ValueError(f"says that the head sees the pooling {pool!r}, which the models here do not compute")
    told: dict[str, Any] = {}
    depths = _each(args.pop("depths", fields["num_layers_per_block"]), len(fields["num_layers_per_block"]))
    told["num_layers_per_block"] = tuple(depths)
    widths = _each(args.pop("embed_dims", None), len(depths))
    heads = _each(args.pop("num_heads", None), len(depths))
    for field, values in (("embedding_dim", widths), ("num_heads", heads)):
        if values:
            told[field] = values[0]
    scale = fields["scale_hidden_dims"]
    if widths and heads and len(depths) > 1:
        scale = widths[1] // widths[0]
        told["scale_hidden_dims"] = None if scale == 1 else scale
    for values in filter(None, (widths, heads)):
        if values != [values[0] * scale**level for level in range(len(values))]:
            raise ValueError(f"says {values} for its levels; models here grow by one factor, heads and channels alike")
    renamed = {"patch_size": "init_patch_embed_size", "mlp_ratio": "mlp_ratio", "qkv_bias": "qkv_bias"}
    told |= {ours: args.pop(theirs) for theirs, ours in renamed.items() if theirs in args}
    if args.get("pad_type") == "same":
        del args["pad_type"]
    return told


def _mixer(args: dict[str, Any], fields: Mapping[str, Any], pool: str | None) -> dict[str, Any]:
    if pool not in (None, "avg"):
        raise ValueError(f"says that the head sees the pooling {pool!r}, which the models here do not compute")
    renamed = {"embed_dim": "hidden_dim", "num_blocks": "num_blocks", "patch_size": "patch_size"}
    told = {ours: _plain(args.pop(theirs)) for theirs, ours in renamed.items() if theirs in args}
    width = told.get("hidden_dim", fields["hidden_dim"])
    tokens, channels = _each(args.pop("mlp_ratio", (0.5, 4.0)), 2)
    return told | {"tokens_mlp_dim": int(width * tokens), "channels_mlp_dim": int(width * channels)}


def _transformers(config: Mapping[str, Any], preprocessor: Mapping[str, Any]) -> Told:
    epsilon = config.get("layer_norm_eps", 1e-12)
    if not 0 <= epsilon <= 1e-6:
        raise ValueError(f"says that layer_norm_eps is {epsilon}; the models here have 1e-6")
    if config.get("pooler_act", "tanh") != "tanh":
        raise ValueError(f"says that pooler_act is {config['pooler_act']!r}; the models here have tanh")
    renamed = {
        "hidden_size": "hidden_size",
        "num_hidden_layers": "num_layers",
        "num_attention_heads": "num_heads",
        "intermediate_size": "mlp_dim",
        "patch_size": "patch_size",
        "num_channels": "in_channels",
    }
    defaults = {"num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 3072, "patch_size": 16}
    told = {ours: _plain(value) for theirs, ours in renamed.items() if (value := {**defaults, **config}.get(theirs))}
    told |= {"classifier": "token", "activation": _gelu(config.get("hidden_act", "gelu"))}
    told |= _stretched(preprocessor)
    labels = config.get("id2label") or {}
    is_imagenet = len(labels) == 1000 and str(labels.get("0", "")).startswith("tench")
    size, names = _size(config.get("image_size", 224)), None if is_imagenet else _class_names(labels)
    task = {theirs: ours for ours, theirs in PROBLEM_TYPES.items()}.get(str(config.get("problem_type")), SINGLE_LABEL)
    return Told(_nearest(told), told, size, is_imagenet, (), "transformers", names, task)


def _class_names(labels: Any) -> tuple[str, ...] | None:
    """Names of classes by their numbers, where they are real ones: not the LABEL_0 that transformers makes up."""
    if not isinstance(labels, Mapping):
        return None
    by_number = {str(number): str(name) for number, name in labels.items()}
    names = tuple(by_number.get(str(number), "") for number in range(len(by_number)))
    made_up = all(name == f"LABEL_{number}" for number, name in enumerate(names))
    return None if made_up or not all(names) else names


def _nearest(told: Mapping[str, Any]) -> str:
    """The published ViT of these sizes, or of most of them."""
    vits = {name: fields for name, (model, fields) in registry.MODELS.items() if model.__name__ == "VisionTransformer"}
    wanted = {**told, "resnet_num_layers": None}
    return max(vits, key=lambda name: sum(vits[name].get(field) == value for field, value in wanted.items()))


def _gelu(name: str) -> str:
    if name not in _GELUS:
        raise ValueError(f"says that the activation is {name!r}; the models here have {', '.join(_GELUS)}")
    return _GELUS[name]


def _refuse_rest(args: Mapping[str, Any]) -> None:
    """Refuses arguments that change what is computed."""
    for name, value in args.items():
        if name in _WITHOUT_EFFECT or bool(value) == (name in _ON):
            continue
        what = f" ({_REASONS[name]})" if name in _REASONS else ""
        raise ValueError(f"says that {name} is {value!r}{what}, which the models here do not compute")


def _preprocessing(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Evaluation preprocessing of timm."""
    if not settings.get("mean") or not settings.get("std"):
        return {}
    interpolation = settings.get("interpolation")
    spec = {
        "mean": list(settings["mean"]),
        "std": list(settings["std"]),
        **({"stretch": True} if settings.get("crop_mode") == "squash" else {"crop_ratio": _crop_ratio(settings)}),
        "interpolation": interpolation if interpolation in ("bilinear", "bicubic") else "bicubic",
        "pillow": True,
    }
    return {"preprocessing": spec}


def _crop_ratio(settings: Mapping[str, Any]) -> float:
    return settings.get("crop_pct") or 0.875


def _stretched(preprocessor: Mapping[str, Any]) -> dict[str, Any]:
    """The preprocessing of transformers: the whole image is stretched to the size."""
    spec = {
        "mean": list(preprocessor.get("image_mean") or (0.5,) * 3),
        "std": list(preprocessor.get("image_std") or (0.5,) * 3),
        "stretch": True,
        "interpolation": "bicubic" if preprocessor.get("resample") == 3 else "bilinear",
        "pillow": True,
    }
    return {"preprocessing": spec}


def _each(value: Any, count: int) -> list[Any]:
    """One value for each level, of which one may stand for all."""
    if value is None:
        return []
    return list(value) if isinstance(value, (list, tuple)) else [value] * count


def _plain(value: Any) -> Any:
    """A number, or two of them as a tuple."""
    return tuple(value) if isinstance(value, list) else value


def _size(value: Any) -> Size | None:
    sides = list(value) if isinstance(value, (list, tuple)) else [value, value]
    return (int(sides[0]), int(sides[1])) if len(sides) == 2 and all(sides) else None
