"""The NesT of vit-flax: a second Flax design with scalar position embeddings and bias-free 1x1 convolutions.

Reference: conceptofmind/vit-flax, `vit_flax/nest.py`. Same hierarchy as the official NesT; what differs is in
`keras_nest.layers.vit_flax`.
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import keras

from keras_nest.layers import BlockImages, ChannelNorm, UnblockImages
from keras_nest.layers.vit_flax import Aggregate, FlattenPatches, Transformer
from keras_nest.models.arguments import plain_arguments
from keras_nest.models.base import IMAGENET_PREPROCESSING, ImageModel, Paper
from keras_nest.models.families import register_family
from keras_nest.models.fields import check_image_size, constructor_arguments, resolve_policy, square_side
from keras_nest.models.heads import classifier_endpoints
from keras_nest.models.inputs import image_input
from keras_nest.types import Size, as_size

# The configuration in the reference's README; no checkpoint of it was published.
VARIANTS: dict[str, dict[str, Any]] = {
    "vit_flax_nest": {
        "image_size": 224,
        "patch_size": 4,
        "dim": 96,
        "heads": 3,
        "num_hierarchies": 3,
        "block_repeats": (2, 2, 8),
        "num_classes": 1000,
        "preprocessing": IMAGENET_PREPROCESSING,
    }
}


@register_family(VARIANTS)
class ViTFlaxNesT(ImageModel):
    """NesT as in vit-flax: (B, H, W, in_channels) float images, normalized -> logits (B, num_classes).

    Unlike the original, dropout acts in training only, and the image may be rectangular.

    Args:
        image_size: side or (height, width) in pixels.
        patch_size: side of an embedded patch in pixels (`init_patch_embed_size` of the official NesT).
        dim: channels of the first level; they double from level to level.
        heads: attention heads of the first level; they double too.
        num_hierarchies: number of levels.
        block_repeats: encoder layers of each level, or one number for all.
        mlp_mult: hidden width of the feed-forward branch over the channels.
        dropout: dropout rate.
        num_classes: size of the head; 0 outputs the pooled embedding.
        in_channels: channels of the input.
        features_only: output a dictionary of level maps, finest first.
        classifier_activation: what the output is of the logits: None (themselves), "softmax" or "sigmoid" (the
            probabilities of the classes); `compile` then takes the loss that fits.
        preprocessing: evaluation preprocessing, see `keras_nest.preprocessor`.
        dtype: dtype policy of the layers; None takes the global one.
        name: name of the model.

    Raises:
        ValueError: the number of `block_repeats` differs from `num_hierarchies`, or the image size does not divide.
    """

    PAPER: ClassVar[Paper | None] = Paper(
        "Nested Hierarchical Transformer, AAAI 2022", "https://arxiv.org/abs/2105.12723"
    )

    @plain_arguments
    def __init__(
        self,
        image_size: int | Size = 224,
        patch_size: int = 4,
        dim: int = 96,
        heads: int = 3,
        num_hierarchies: int = 3,
        block_repeats: int | Sequence[int] = (2, 2, 8),
        mlp_mult: int = 4,
        dropout: float = 0.0,
        num_classes: int = 1000,
        in_channels: int = 3,
        features_only: bool = False,
        classifier_activation: str | None = None,
        preprocessing: dict[str, Any] | None = None,
        dtype: Any = None,
        name: str | None = "vit_flax_nest",
    ) -> None:
        config = constructor_arguments(ViTFlaxNesT, locals())
        policy = resolve_policy(dtype)
        repeats = (block_repeats,) * num_hierarchies if isinstance(block_repeats, int) else tuple(block_repeats)
        if len(repeats) != num_hierarchies:
            raise ValueError(
                f"block_repeats {repeats} has {len(repeats)} levels, num_hierarchies is {num_hierarchies}."
            )
        blocks = 2 ** (num_hierarchies - 1)
        size = as_size(image_size)
        check_image_size(size, patch_size * blocks, f"{blocks} x {blocks} blocks of patches of {patch_size} pixels")
        config |= {"image_size": size, "block_repeats": repeats, "dtype": policy.name}

        inputs, images = image_input(ViTFlaxNesT, config, policy)
        patches = FlattenPatches(patch_size, name="patches", dtype=policy)(images)
        stem = keras.layers.Conv2D(dim, 1, kernel_initializer="lecun_normal", name="Conv_0", dtype=policy)(patches)
        last_map, endpoints = _levels(stem, config, policy)
        if not features_only:
            features = ChannelNorm(name="LayerNorm_0", dtype=policy)(last_map)
            endpoints["LayerNorm_0"] = features
            head = {"name": "Dense_0", "kernel_initializer": "lecun_normal"}
            endpoints |= classifier_endpoints(features, num_classes, policy, classifier_activation, **head)
        omitted = ["LayerNorm_0"] if features_only else []
        super().__init__(inputs, endpoints, config, omitted=omitted, name=name)

    @property
    def block_inputs(self) -> tuple[str, ...]:
        """See `ImageModel.block_inputs`."""
        return tuple(f"blocks_{level}" for level in range(self.config["num_hierarchies"]))

    def attention_layers(self) -> dict[str, dict[str, keras.layers.Layer]]:
        """See `ImageModel.attention_layers`."""
        transformers = [self.get_layer(f"Transformer_{level}") for level in range(self.config["num_hierarchies"])]
        return {
            f"level_{level}": {
                f"{x.name}/{norm.name}/LayerNorm_0": branch
                for norm, branch in zip(x.norms[::2], x.branches[::2], strict=True)
            }
            for level, x in enumerate(transformers, 1)
        }

    @classmethod
    def infer_fields(
        cls, fields: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]], new_head: bool = False
    ) -> dict[str, Any]:
        """See `ImageModel.infer_fields`."""
        inferred = super().infer_fields(fields, shapes, new_head)
        position_embedding = shapes.get("Transformer_0/pos_emb")
        side = square_side(position_embedding[0]) if position_embedding else None
        if side:
            inferred["image_size"] = side * 2 ** (fields["num_hierarchies"] - 1) * fields["patch_size"]
        return inferred


def _levels(
    stem: keras.KerasTensor, config: dict[str, Any], policy: keras.DTypePolicy
) -> tuple[keras.KerasTensor, dict[str, keras.KerasTensor]]:
    """All levels: the map of the last one, and the endpoints met on the way."""
    levels = config["num_hierarchies"]
    endpoints = {"Conv_0": stem, "stem": stem}
    x = stem
    for level, depth in enumerate(config["block_repeats"]):
        side = 2 ** (levels - 1 - level)
        block = (x.shape[1] // side, x.shape[2] // side)
        transformer = Transformer(
            depth,
            config["heads"] * 2**level,
            block,
            config["mlp_mult"],
            config["dropout"],
            name=f"Transformer_{level}",
            dtype=policy,
        )
        blocks = BlockImages((side, side), name=f"blocks_{level}", dtype=policy)(x)
        x, parts = transformer(blocks)
        endpoints[f"blocks_{level}"] = blocks
        endpoints |= {transformer.name: x} | {f"{transformer.name}/{part}": y for part, y in parts.items()}
        x = UnblockImages((side, side), block, name=f"level_{level + 1}", dtype=policy)(x)
        endpoints[f"level_{level + 1}"] = x
        if level + 1 < levels:
            x = Aggregate(config["dim"] * 2 ** (level + 1), name=f"Aggregate_{level}", dtype=policy)(x)
            endpoints[f"Aggregate_{level}"] = x
    return x, endpoints
