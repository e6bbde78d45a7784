"""ViT, the Vision Transformer, and its hybrids with a ResNet in front.

Dosovitskiy et al., "An Image is Worth 16x16 Words: Transformers for Image Recognition at Scale", ICLR 2021; Steiner et
al., "How to train your ViT?", TMLR 2022 (the AugReg checkpoints). Reference: google-research/vision_transformer,
`vit_jax/models_vit.py` and `models_resnet.py`.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import keras

from keras_nest.layers.encoder import check_gelu
from keras_nest.layers.encoder_1d import Encoder
from keras_nest.layers.resnet import ResNetStage, StdConv, check_variant, group_norm
from keras_nest.layers.tokens import CLASSIFIERS, ClassToken, MapToTokens, PoolTokens, TokensToMap, has_class_token
from keras_nest.models.arguments import plain_arguments
from keras_nest.models.base import STRETCHED_PREPROCESSING, ImageModel, Paper
from keras_nest.models.families import register_family
from keras_nest.models.fields import (
    check_feature_blocks,
    check_heads,
    check_rates,
    constructor_arguments,
    resolve_policy,
    square_side,
)
from keras_nest.models.heads import head_endpoints
from keras_nest.models.inputs import image_input
from keras_nest.types import Size, as_size

# Width, depth, heads and MLP width; "testing" models are for tests of one's own.
_SIZES: dict[str, tuple[int, int, int, int]] = {
    "testing": (10, 1, 2, 10),
    "Ti": (192, 12, 3, 768),
    "S": (384, 12, 6, 1536),
    "B": (768, 12, 12, 3072),
    "L": (1024, 24, 16, 4096),
    "H": (1280, 32, 16, 5120),
}


def _variant(size: str, patch_size: int, **fields: Any) -> dict[str, Any]:
    names = ("hidden_size", "num_layers", "num_heads", "mlp_dim")
    widths = dict(zip(names, _SIZES[size], strict=True))
    common = {"image_size": 224, "num_classes": 1000, "preprocessing": STRETCHED_PREPROCESSING}
    return {**common, "patch_size": patch_size, **widths, **fields}


# Published models. The number in the name is pixels a token, which a ResNet's stride is part of.
VARIANTS: dict[str, dict[str, Any]] = {
    "ViT-Ti_16": _variant("Ti", 16),
    "ViT-S_16": _variant("S", 16),
    "ViT-S_32": _variant("S", 32),
    "ViT-B_8": _variant("B", 8),
    "ViT-B_16": _variant("B", 16),
    "ViT-B_32": _variant("B", 32),
    "ViT-L_16": _variant("L", 16, dropout_rate=0.1),
    "ViT-L_32": _variant("L", 32),
    "ViT-H_14": _variant("H", 14, dropout_rate=0.1),
    "ViT-S_16-gap-norep": _variant("S", 16, classifier="gap"),
    "ViT-S_32-gap-norep": _variant("S", 32, classifier="gap"),
    "ViT-B_16-gap-norep": _variant("B", 16, classifier="gap"),
    "ViT-B_32-gap-norep": _variant("B", 32, classifier="gap"),
    "R+ViT-Ti_16": _variant("Ti", 8, resnet_num_layers=()),
    "R26+ViT-S_32": _variant("S", 1, resnet_num_layers=(2, 2, 2, 2)),
    "R26+ViT-B_32": _variant("B", 1, resnet_num_layers=(2, 2, 2, 2)),
    "R50+ViT-B_16": _variant("B", 1, resnet_num_layers=(3, 4, 9), dropout_rate=0.1),
    "R50+ViT-L_32": _variant("L", 1, resnet_num_layers=(3, 4, 6, 3), dropout_rate=0.1),
    "testing": _variant("testing", 16, dropout_rate=0.1),
    "testing-unpooled": _variant("testing", 16, classifier="unpooled", dropout_rate=0.1),
}
# The names that AugReg files begin with: "B_16", "R26_S_32", …
ALIASES = {name.replace("ViT-", "").replace("+", "_"): name for name in VARIANTS if "ViT-" in name}


@register_family(VARIANTS, ALIASES)
class VisionTransformer(ImageModel):
    """ViT image classifier: (B, H, W, in_channels) float images in [-1, 1] -> logits (B, num_classes).

    Images need not be square, nor divide into patches: pixels that are left over at the right and bottom are not seen.

    Args:
        num_classes: size of the head; 0 outputs what the head would see.
        image_size: side or (height, width) in pixels.
        in_channels: channels of the input.
        patch_size: side or (height, width) of a patch, in pixels or, in hybrids, in positions of the ResNet's map.
        hidden_size: channels C of the tokens.
        num_layers: encoder layers; None leaves the transformer out, with position embedding, class token and norm
            (`classifier` is then "gap", or "unpooled" with logits (B, H, W, num_classes)).
        num_heads: attention heads h.
        mlp_dim: hidden width of the MLPs.
        classifier: what the head sees: "token" (the class token), "gap" (the mean of all tokens), "unpooled" (every
            token; there is no class token) or "token_unpooled" (every token and the class token).
        representation_size: width of a dense layer `pre_logits` with tanh in front of the head; None has none.
        dropout_rate: dropout rate after the position embedding, of attention outputs and inside the MLPs.
        attention_dropout_rate: dropout rate of the attention probabilities.
        resnet_num_layers: units of each ResNet stage in front; () is its root alone, None no ResNet.
        resnet_width_factor: width of the ResNet over 64.
        head_bias_init: initial bias of the head.
        features_only: output maps (B, H, W, C) without final norm: `root`, `stage_1`, … of a ResNet, and `block_k` of
            the encoder layers that `feature_blocks` names.
        feature_blocks: encoder layers, counted from 1, whose maps are endpoints `level_1`, … and outputs of
            `features_only`; None is the last one.
        classifier_activation: what the output is of the logits: None (themselves), "softmax" or "sigmoid" (the
            probabilities of the classes); `compile` then takes the loss that fits.
        preprocessing: evaluation preprocessing, see `keras_nest.preprocessor`.
        dtype: dtype policy of the layers, such as "mixed_bfloat16"; None takes the global one.
        name: name of the model; "+" becomes "_".
        remat: training computes what the blocks hold again in the backward pass instead of keeping it: a third more
            time, for a fraction of the memory.
        activation: of the MLPs: "gelu_tanh", the approximation of the JAX originals, or "gelu", the exact one of
            PyTorch's.
        resnet_variant: how the ResNet of a hybrid normalizes: "jax", or "timm" for weights that were trained there; see
            `keras_nest.layers.StdConv`.

    Raises:
        ValueError: a field has no meaning, or the image is smaller than a patch.
    """

    PAPER: ClassVar[Paper | None] = Paper(
        "An Image is Worth 16x16 Words, ICLR 2021", "https://arxiv.org/abs/2010.11929"
    )
    HEAD: ClassVar[tuple[str, ...]] = ("head",)
    PRE_HEAD: ClassVar[Mapping[str, str]] = {"pre_logits": "representation_size"}
    PATCHES: ClassVar[tuple[str, str] | None] = ("patch_size", "embedding")
    BLOCKS: ClassVar[tuple[str, str] | None] = ("num_layers", "Transformer/encoderblock_{}")
    NORM: ClassVar[str | None] = "Transformer/encoder_norm"

    @plain_arguments
    def __init__(
        self,
        num_classes: int = 1000,
        image_size: int | Size = 224,
        in_channels: int = 3,
        patch_size: int | Size = 16,
        hidden_size: int = 768,
        num_layers: int | None = 12,
        num_heads: int = 12,
        mlp_dim: int = 3072,
        classifier: str = "token",
        representation_size: int | None = None,
        dropout_rate: float = 0.0,
        attention_dropout_rate: float = 0.0,
        resnet_num_layers: Sequence[int] | None = None,
        resnet_width_factor: float = 1,
        head_bias_init: float = 0.0,
        features_only: bool = False,
        feature_blocks: Sequence[int] | None = None,
        classifier_activation: str | None = None,
        preprocessing: dict[str, Any] | None = None,
        dtype: Any = None,
        name: str | None = "vit",
        remat: bool = False,
        activation: str = "gelu_tanh",
        resnet_variant: str = "jax",
    ) -> None:
        config = constructor_arguments(VisionTransformer, locals())
        policy = resolve_policy(dtype)
        config |= {"image_size": as_size(image_size), "dtype": policy.name}
        config |= {k: tuple(config[k]) for k in ("resnet_num_layers", "feature_blocks") if config[k] is not None}
        _check_fields(config)

        inputs, images = image_input(VisionTransformer, config, policy)
        x, maps, endpoints = _resnet(images, config, policy)
        patches = as_size(patch_size, "patch_size")
        _check_patches(x, patches, config)
        embedding = keras.layers.Conv2D(
            hidden_size, patches, strides=patches, kernel_initializer="lecun_normal", name="embedding", dtype=policy
        )
        x = endpoints["stem"] = endpoints["embedding"] = embedding(x)
        tokens, block_maps, parts = _transformer(x, config, policy)
        maps |= block_maps
        endpoints |= parts | {f"level_{i + 1}": level for i, level in enumerate(maps.values())}
        if not features_only:
            endpoints |= _classifier(tokens, endpoints["embedding"].shape[1:3], config, policy)
        super().__init__(inputs, endpoints, config, maps, _omitted(config), name)

    @property
    def pools_class_token(self) -> bool:
        """See `ImageModel.pools_class_token`."""
        return self.config["classifier"] == "token"

    @property
    def evidence_endpoint(self) -> str:
        """See `ImageModel.evidence_endpoint`; of a class token what it sees the patches through."""
        # `features` is made of the tokens, beside the pooling.
        if not self.pools_class_token:
            return "tokens"
        return f"Transformer/encoderblock_{self.config['num_layers'] - 1}/LayerNorm_0"

    def attention_layers(self) -> dict[str, dict[str, keras.layers.Layer]]:
        """See `ImageModel.attention_layers`."""
        if self.config["num_layers"] is None:
            return {}
        encoder = self.get_layer("Transformer")
        return {"tokens": {f"{encoder.name}/{x.name}/{x.norms[0].name}": x.attention for x in encoder.blocks}}

    @classmethod
    def infer_fields(
        cls, fields: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]], new_head: bool = False
    ) -> dict[str, Any]:
        """See `ImageModel.infer_fields`; also the size of a representation layer that the checkpoint's head needs."""
        inferred = super().infer_fields(fields, shapes, new_head)
        if "pre_logits/kernel" in shapes and not new_head:
            inferred["representation_size"] = shapes["pre_logits/kernel"][-1]
        position_embedding = shapes.get("Transformer/posembed_input/pos_embedding")
        side = square_side(position_embedding[1] - ("cls" in shapes)) if position_embedding else None
        if side:
            stages = fields.get("resnet_num_layers")
            stride = 1 if stages is None else 4 * 2 ** max(len(stages) - 1, 0)
            height, width = cls.checkpoint_patch(fields, shapes)
            inferred["image_size"] = (side * stride * height, side * stride * width)
        return inferred


def _resnet(
    images: keras.KerasTensor, config: dict[str, Any], policy: keras.DTypePolicy
) -> tuple[keras.KerasTensor, dict[str, keras.KerasTensor], dict[str, keras.KerasTensor]]:
    """The ResNet of a hybrid: its last map, its maps by output name, and endpoints. Without one, the images."""
    stages = config["resnet_num_layers"]
    if stages is None:
        return images, {}, {}
    width = int(64 * config["resnet_width_factor"])
    variant = config["resnet_variant"]
    x = conv = StdConv(width, 7, variant, strides=2, name="conv_root", dtype=policy)(images)
    x = normed = group_norm(variant, name="gn_root", dtype=policy)(x)
    x = keras.layers.ReLU(name="root_relu", dtype=policy)(x)
    # Padded with minus infinity at the bottom and right only where a side is even: SAME as in TensorFlow.
    x = keras.layers.MaxPooling2D(3, strides=2, padding="same", name="root", dtype=policy)(x)
    maps, endpoints = {"root": x}, {"conv_root": conv, "gn_root": normed}
    for i, units in enumerate(stages):
        stage = ResNetStage(units, width * 2**i, 1 if i == 0 else 2, variant, name=f"block{i + 1}", dtype=policy)
        x = maps[f"stage_{i + 1}"] = endpoints[stage.name] = stage(x)
    return x, maps, endpoints


def _transformer(
    x: keras.KerasTensor, config: dict[str, Any], policy: keras.DTypePolicy
) -> tuple[keras.KerasTensor, dict[str, keras.KerasTensor], dict[str, keras.KerasTensor]]:
    """The encoder: its tokens (B, N, C), maps of the blocks in question by output name, and endpoints."""
    grid = x.shape[1:3]
    tokens = MapToTokens(name="tokens", dtype=policy)(x)
    if config["num_layers"] is None:
        return tokens, {}, {}
    class_token = has_class_token(config["classifier"])
    if class_token:
        tokens = ClassToken(name="cls", dtype=policy)(tokens)
    fields = ("num_heads", "mlp_dim", "dropout_rate", "attention_dropout_rate", "remat", "activation")
    encoder = Encoder(
        _depth(config),
        **{field: config[field] for field in fields},
        grid=grid,
        class_token=class_token,
        final_norm=not config["features_only"],
        name="Transformer",
        dtype=policy,
    )
    tokens, parts = encoder(tokens)
    maps = {
        f"block_{k}": TokensToMap(grid, name=f"block_{k}", dtype=policy)(parts[f"encoderblock_{k - 1}"])
        for k in check_feature_blocks(config["feature_blocks"], config["num_layers"])
    }
    return tokens, maps, {"Transformer": tokens} | {f"Transformer/{part}": value for part, value in parts.items()}


def _classifier(
    tokens: keras.KerasTensor, grid: Size, config: dict[str, Any], policy: keras.DTypePolicy
) -> dict[str, keras.KerasTensor]:
    """Pooling, representation layer and head, in float32 under mixed precision."""
    dtype = policy.variable_dtype
    features = TokensToMap(grid, name="features", dtype=policy)(tokens)
    if config["num_layers"] is None and config["classifier"] == "unpooled":
        x = features  # as in the reference, where only a transformer makes tokens of the map
    else:
        x = PoolTokens(config["classifier"], name="pool", dtype=dtype)(tokens)
    if config["representation_size"] is not None:
        x = keras.layers.Dense(
            config["representation_size"],
            activation="tanh",
            kernel_initializer="lecun_normal",
            name="pre_logits",
            dtype=dtype,
        )(x)
    head = {
        "name": "head",
        "kernel_initializer": "zeros",
        "bias_initializer": keras.initializers.Constant(config["head_bias_init"]),
    }
    endpoints = {"tokens": tokens, "features": features, "pre_logits": x}
    return endpoints | head_endpoints(x, config["num_classes"], policy, config["classifier_activation"], **head)


def _depth(config: dict[str, Any]) -> int:
    """Encoder layers that are built: a feature extractor ends with the last one it needs."""
    blocks = check_feature_blocks(config["feature_blocks"], config["num_layers"])
    return max(blocks, default=0) if config["features_only"] else config["num_layers"]


def _omitted(config: dict[str, Any]) -> list[str]:
    """Modules of a checkpoint that the configuration does without."""
    omitted = [] if has_class_token(config["classifier"]) else ["cls"]
    if config["representation_size"] is None or config["features_only"]:
        omitted.append("pre_logits")
    if config["num_layers"] is None:
        omitted.append("Transformer")
    elif config["features_only"]:
        unused = range(_depth(config), config["num_layers"])
        omitted += ["Transformer/encoder_norm", *(f"Transformer/encoderblock_{i}" for i in unused)]
    return omitted


def _check_fields(config: dict[str, Any]) -> None:
    if config["classifier"] not in CLASSIFIERS:
        known = ", ".join(map(repr, CLASSIFIERS))
        raise ValueError(f"classifier is {config['classifier']!r}; it must be one of {known}.")
    check_gelu(config["activation"])
    check_variant(config["resnet_variant"])
    check_rates(config, ("dropout_rate", "attention_dropout_rate"))
    if config["num_layers"] is None and has_class_token(config["classifier"]):
        raise ValueError(
            f"classifier {config['classifier']!r} needs the transformer that num_layers=None leaves out; "
            "without it, use 'gap' or 'unpooled'."
        )
    if config["num_layers"] is not None:
        check_heads(config["hidden_size"], config["num_heads"], "hidden_size")
    check_feature_blocks(config["feature_blocks"], config["num_layers"] or 0)
    width = 64 * config["resnet_width_factor"]
    if config["resnet_num_layers"] is not None and (width % 32 or width <= 0):
        raise ValueError(
            f"resnet_width_factor {config['resnet_width_factor']} makes a ResNet of width {width:g}; it must be a "
            "multiple of 32, the number of groups of its normalization."
        )


def _check_patches(x: keras.KerasTensor, patch: Size, config: dict[str, Any]) -> None:
    """Refuses images that hold not one patch."""
    height, width = x.shape[1:3]
    if height >= patch[0] and width >= patch[1]:
        return
    stride = math.ceil(config["image_size"][0] / height)
    raise ValueError(
        "image_size {} x {} is too small: one patch takes {} x {} pixels.".format(
            *config["image_size"], patch[0] * stride, patch[1] * stride
        )
    )
