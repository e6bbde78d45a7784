"""NesT: nested hierarchical transformer.

Zhang, Zhang, Zhao, Chen, Arik, Pfister, "Nested Hierarchical Transformer: Towards Accurate, Data-Efficient and
Interpretable Visual Understanding", AAAI 2022. Reference: google-research/nested-transformer, `models/nest_net.py`.
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import keras
import numpy as np

from keras_nest.layers import (
    BlockImages,
    ConvPool,
    EncoderNDBlock,
    PatchEmbedding,
    PositionEmbedding,
    UnblockImages,
)
from keras_nest.layers.encoder import ATTENTIONS, check_gelu
from keras_nest.layers.initializers import kernel_initializer
from keras_nest.layers.normalization import norm
from keras_nest.models.arguments import plain_arguments
from keras_nest.models.base import CIFAR10_PREPROCESSING, IMAGENET_PREPROCESSING, ImageModel, Paper
from keras_nest.models.families import register_family
from keras_nest.models.fields import (
    check_heads,
    check_image_size,
    check_rates,
    constructor_arguments,
    resolve_policy,
    square_side,
)
from keras_nest.models.heads import classifier_endpoints
from keras_nest.models.inputs import image_input
from keras_nest.types import Size, as_size

_IMAGENET = {
    "image_size": 224,
    "num_classes": 1000,
    "init_patch_embed_size": 4,
    "scale_hidden_dims": 2,
    "attn_type": "local_multi_head",
    "preprocessing": IMAGENET_PREPROCESSING,
}
_CIFAR = {
    "image_size": 32,
    "num_classes": 10,
    "init_patch_embed_size": 1,
    "scale_hidden_dims": None,
    "attn_type": "local_multi_query",
    "num_layers_per_block": (3, 3, 3, 3),
    "stochastic_depth_drop": 0.1,
    "preprocessing": CIFAR10_PREPROCESSING,
}

# Published models: name, (alias), fields. The number in the name is tokens per block; 224 and 32 are image sizes.
VARIANTS: dict[str, dict[str, Any]] = {
    "nest_tiny_s196_224": {
        **_IMAGENET,
        "embedding_dim": 96,
        "num_heads": 3,
        "num_layers_per_block": (2, 2, 8),
        "stochastic_depth_drop": 0.2,
    },
    "nest_small_s196_224": {
        **_IMAGENET,
        "embedding_dim": 96,
        "num_heads": 3,
        "num_layers_per_block": (2, 2, 20),
        "stochastic_depth_drop": 0.3,
    },
    "nest_base_s196_224": {
        **_IMAGENET,
        "embedding_dim": 128,
        "num_heads": 4,
        "num_layers_per_block": (2, 2, 20),
        "stochastic_depth_drop": 0.5,
    },
    "nest_tiny_s16_32": {**_CIFAR, "embedding_dim": 192, "num_heads": 3},
    "nest_small_s16_32": {**_CIFAR, "embedding_dim": 384, "num_heads": 6},
    "nest_base_s16_32": {**_CIFAR, "embedding_dim": 768, "num_heads": 12},
}
ALIASES = {
    "nest_tiny": "nest_tiny_s196_224",
    "nest_small": "nest_small_s196_224",
    "nest_base": "nest_base_s196_224",
}


@register_family(VARIANTS, ALIASES)
class NesT(ImageModel):
    """NesT image classifier: (B, H, W, in_channels) float images, normalized -> logits (B, num_classes).

    The number of levels is the length of `num_layers_per_block`. The first level has 2^(levels - 1) blocks per side,
    every further level half as many, the last one a single block. That grid is fixed: a larger image makes larger
    blocks, a rectangular one rectangular blocks.

    Args:
        num_classes: size of the head; 0 outputs the pooled embedding (B, C).
        image_size: side or (height, width) in pixels; None takes it from `patch_size`.
        in_channels: channels of the input.
        embedding_dim: channels C of the first level.
        num_heads: attention heads h of the first level.
        num_layers_per_block: encoder layers of each level.
        patch_size: side or (height, width) of a block in tokens, as in the published configurations. It follows from
            `image_size`; given together they must agree.
        init_patch_embed_size: side of an embedded patch in pixels.
        scale_hidden_dims: factor of channels and heads from level to level; None keeps both.
        attn_type: "local_multi_head" or "local_multi_query".
        norm_type: "LN", "BN" or "GN".
        mlp_ratio: hidden width of the MLP over C.
        qkv_bias: biases of query, key and value.
        attn_drop: dropout rate of attention probabilities.
        proj_drop: dropout rate of the attention output and inside the MLP.
        stochastic_depth_drop: drop-path rate of the last layer; rates rise linearly from 0.
        features_only: output a dictionary of level maps (B, H, W, C), finest first; Pk has stride 2^k.
        classifier_activation: what the output is of the logits: None (themselves), "softmax" or "sigmoid" (the
            probabilities of the classes); `compile` then takes the loss that fits.
        preprocessing: evaluation preprocessing, see `keras_nest.preprocessor`.
        dtype: dtype policy of the layers, such as "mixed_bfloat16"; None takes the global one.
        name: name of the model.
        remat: training computes what the blocks hold again in the backward pass instead of keeping it: a third more
            time, for a fraction of the memory.
        activation: of the MLPs: "gelu_tanh", the approximation of the JAX originals, or "gelu", the exact one of
            PyTorch's.

    Raises:
        ValueError: a field has no meaning, or the image size does not divide into the blocks.
    """

    PAPER: ClassVar[Paper | None] = Paper(
        "Nested Hierarchical Transformer, AAAI 2022", "https://arxiv.org/abs/2105.12723"
    )
    # Block size and image size determine each other.
    DETERMINED_BY: ClassVar[Mapping[str, str]] = {"image_size": "patch_size"}
    PATCHES: ClassVar[tuple[str, str] | None] = ("init_patch_embed_size", "PatchEmbedding_0/Conv_0")
    BLOCKS: ClassVar[tuple[str, str] | None] = ("num_layers_per_block", "EncoderNDBlock_{}")

    @plain_arguments
    def __init__(
        self,
        num_classes: int = 1000,
        image_size: int | Size | None = 224,
        in_channels: int = 3,
        embedding_dim: int = 96,
        num_heads: int = 3,
        num_layers_per_block: Sequence[int] = (2, 2, 8),
        patch_size: int | Size | None = None,
        init_patch_embed_size: int = 4,
        scale_hidden_dims: int | None = None,
        attn_type: str = "local_multi_head",
        norm_type: str = "LN",
        mlp_ratio: float = 4,
        qkv_bias: bool = True,
        attn_drop: float = 0.0,
        proj_drop: float = 0.0,
        stochastic_depth_drop: float = 0.0,
        features_only: bool = False,
        classifier_activation: str | None = None,
        preprocessing: dict[str, Any] | None = None,
        dtype: Any = None,
        name: str | None = "nest",
        remat: bool = False,
        activation: str = "gelu_tanh",
    ) -> None:
        config = constructor_arguments(NesT, locals())
        del config["patch_size"]  # image_size says it
        policy = resolve_policy(dtype)
        config["num_layers_per_block"] = tuple(num_layers_per_block)
        _check_fields(config)
        levels = len(config["num_layers_per_block"])
        config["image_size"] = resolve_image_size(image_size, patch_size, init_patch_embed_size, levels)
        config["dtype"] = policy.name

        inputs, images = image_input(NesT, config, policy)
        stem = PatchEmbedding(embedding_dim, init_patch_embed_size, name="PatchEmbedding_0", dtype=policy)(images)
        blocks, endpoints = _levels(stem, config, policy)
        if not features_only:
            final_norm = norm(norm_type, dtype=policy)
            blocks = endpoints[final_norm.name] = final_norm(blocks)
            features = UnblockImages((1, 1), _last_block(stem, levels), name="features", dtype=policy)(blocks)
            head = {"name": "Dense_0", "kernel_initializer": kernel_initializer()}
            endpoints |= classifier_endpoints(features, num_classes, policy, classifier_activation, **head)
        omitted = [norm(norm_type).name] if features_only else []
        super().__init__(inputs, endpoints, config, omitted=omitted, name=name)

    @property
    def block_inputs(self) -> tuple[str, ...]:
        """See `ImageModel.block_inputs`."""
        return tuple(f"PositionEmbedding_{level}" for level in range(len(self.config["num_layers_per_block"])))

    def attention_layers(self) -> dict[str, dict[str, keras.layers.Layer]]:
        """See `ImageModel.attention_layers`."""
        levels, first = {}, 0
        for level, depth in enumerate(self.config["num_layers_per_block"], 1):
            encoders = [self.get_layer(f"EncoderNDBlock_{i}") for i in range(first, first + depth)]
            levels[f"level_{level}"] = {f"{x.name}/{x.norms[0].name}": x.attention for x in encoders}
            first += depth
        return levels

    @classmethod
    def infer_fields(
        cls, fields: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]], new_head: bool = False
    ) -> dict[str, Any]:
        """See `ImageModel.infer_fields`."""
        inferred = super().infer_fields(fields, shapes, new_head)
        position_embedding = shapes.get("PositionEmbedding_0/pos_embedding")
        side = square_side(position_embedding[2]) if position_embedding else None
        if side:
            height, width = cls.checkpoint_patch(fields, shapes)
            blocks = 2 ** (len(fields["num_layers_per_block"]) - 1)
            inferred["image_size"] = (side * blocks * height, side * blocks * width)
        return inferred


def _levels(
    stem: keras.KerasTensor, config: dict[str, Any], policy: keras.DTypePolicy
) -> tuple[keras.KerasTensor, dict[str, keras.KerasTensor]]:
    """All levels: the blocks of the last one, and the endpoints met on the way."""
    depths = config["num_layers_per_block"]
    scale = config["scale_hidden_dims"] or 1
    rates = np.linspace(0, config["stochastic_depth_drop"], sum(depths)).tolist()
    endpoints = {"PatchEmbedding_0": stem, "stem": stem}
    layer = 0
    side = 2 ** (len(depths) - 1)
    x = BlockImages((side, side), name="blocks", dtype=policy)(stem)
    for level, depth in enumerate(depths):
        grid = (side >> level, side >> level)
        block = (stem.shape[1] // side, stem.shape[2] // side)
        x = _call(PositionEmbedding(grid, block, name=f"PositionEmbedding_{level}", dtype=policy), x, endpoints)
        for _ in range(depth):
            encoder = _encoder(config, config["num_heads"] * scale**level, rates[layer], layer, policy)
            x, parts = encoder(x)
            endpoints |= {encoder.name: x} | {f"{encoder.name}/{part}": value for part, value in parts.items()}
            layer += 1
        level_map = _call(UnblockImages(grid, block, name=f"level_{level + 1}", dtype=policy), x, endpoints)
        if level + 1 < len(depths):
            width = config["embedding_dim"] * scale ** (level + 1)
            pool = ConvPool(width, (grid[0] // 2, grid[1] // 2), name=f"ConvPool_{level}", dtype=policy)
            x = _call(pool, level_map, endpoints)
    return x, endpoints


def _call(layer: keras.layers.Layer, x: keras.KerasTensor, endpoints: dict[str, keras.KerasTensor]) -> Any:
    """Calls a layer and keeps its output under its name."""
    endpoints[layer.name] = layer(x)
    return endpoints[layer.name]


def _encoder(
    config: dict[str, Any], num_heads: int, rate: float, index: int, policy: keras.DTypePolicy
) -> EncoderNDBlock:
    fields = ("attn_type", "norm_type", "mlp_ratio", "qkv_bias", "attn_drop", "proj_drop", "remat", "activation")
    return EncoderNDBlock(
        num_heads,
        **{field: config[field] for field in fields},
        stochastic_depth=rate,
        name=f"EncoderNDBlock_{index}",
        dtype=policy,
    )


def _last_block(stem: keras.KerasTensor, levels: int) -> Size:
    """Height and width of the map of the last level, which is one block."""
    return stem.shape[1] >> (levels - 1), stem.shape[2] >> (levels - 1)


def resolve_image_size(
    image_size: int | Size | None, patch_size: int | Size | None, init_patch_embed_size: int, levels: int
) -> Size:
    """Image size from either or both of the two fields that determine it.

    Args:
        image_size: side or (height, width) in pixels, or None.
        patch_size: side or (height, width) of a block in tokens, or None.
        init_patch_embed_size: pixels a token.
        levels: number of levels; the first has 2^(levels - 1) blocks a side.

    Returns:
        (height, width) in pixels.

    Raises:
        ValueError: neither is given, they disagree, or the size does not divide.
    """
    blocks = 2 ** (levels - 1)
    unit = blocks * init_patch_embed_size
    if patch_size is not None:
        height, width = as_size(patch_size, "patch_size")
        size = (height * unit, width * unit)
        if image_size is not None and as_size(image_size) != size:
            raise ValueError(
                f"image_size {image_size} and patch_size {patch_size} disagree: {blocks} blocks a side of {patch_size} "
                f"tokens of {init_patch_embed_size} pixels make an image of {size[0]} x {size[1]}; leave one out."
            )
    elif image_size is not None:
        size = as_size(image_size)
    else:
        raise ValueError("Neither image_size nor patch_size is given; give one of them.")
    check_image_size(size, unit, f"{blocks} x {blocks} blocks of patches of {init_patch_embed_size} pixels")
    return size


def _check_fields(config: dict[str, Any]) -> None:
    if config["attn_type"] not in ATTENTIONS:
        raise ValueError(f"attn_type is {config['attn_type']!r}; it must be one of {', '.join(map(repr, ATTENTIONS))}.")
    check_gelu(config["activation"])
    check_heads(config["embedding_dim"], config["num_heads"], "embedding_dim")
    if not config["num_layers_per_block"] or min(config["num_layers_per_block"]) < 1:
        raise ValueError("num_layers_per_block must hold a positive number of encoder layers for each level.")
    if int(config["mlp_ratio"] * config["embedding_dim"]) < 1:
        raise ValueError(f"mlp_ratio is {config['mlp_ratio']}; it must make an MLP of 1 unit or more.")
    check_rates(config, ("attn_drop", "proj_drop", "stochastic_depth_drop"))
