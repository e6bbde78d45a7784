"""MLP-Mixer.

Tolstikhin et al., "MLP-Mixer: An all-MLP Architecture for Vision", NeurIPS 2021. Reference:
google-research/vision_transformer, `vit_jax/models_mixer.py`.
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import keras
from keras import ops

from keras_nest.layers import MlpBlock
from keras_nest.layers.base import Layer
from keras_nest.layers.encoder import check_gelu
from keras_nest.layers.normalization import norm
from keras_nest.layers.rematerialization import rematerialized
from keras_nest.layers.tokens import MapToTokens, TokensToMap
from keras_nest.models.arguments import plain_arguments
from keras_nest.models.base import STRETCHED_PREPROCESSING, ImageModel, Paper
from keras_nest.models.families import register_family
from keras_nest.models.fields import (
    check_feature_blocks,
    constructor_arguments,
    resolve_policy,
    square_side,
)
from keras_nest.models.heads import classifier_endpoints
from keras_nest.models.inputs import image_input
from keras_nest.types import Shape, Size, as_size

_COMMON = {"image_size": 224, "num_classes": 1000, "preprocessing": STRETCHED_PREPROCESSING}
_BASE = {**_COMMON, "hidden_dim": 768, "num_blocks": 12, "tokens_mlp_dim": 384, "channels_mlp_dim": 3072}
_LARGE = {**_COMMON, "hidden_dim": 1024, "num_blocks": 24, "tokens_mlp_dim": 512, "channels_mlp_dim": 4096}

# Published models; the number in the name is the side of a patch in pixels.
VARIANTS: dict[str, dict[str, Any]] = {
    "Mixer-B_16": {**_BASE, "patch_size": 16},
    "Mixer-B_32": {**_BASE, "patch_size": 32},
    "Mixer-L_16": {**_LARGE, "patch_size": 16},
}


@keras.saving.register_keras_serializable(package="keras_nest")
class MixerBlock(Layer):
    """Mixes tokens, then channels: (B, N, C) -> the same.

    Returns the output and a dictionary of the intermediates under their Flax names, each (B, N, C).

    Source: Mixer paper, equation 1; reference module `MixerBlock`.

    Args:
        tokens_mlp_dim: hidden width of the MLP over tokens.
        channels_mlp_dim: hidden width of the MLP over channels.
        remat: as of `PreNormBlock`.
        activation: of both MLPs, see `MlpBlock`.
        **kwargs: the usual layer arguments.
    """

    def __init__(
        self,
        tokens_mlp_dim: int,
        channels_mlp_dim: int,
        remat: bool = False,
        activation: str = "gelu_tanh",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.tokens_mlp_dim, self.channels_mlp_dim = tokens_mlp_dim, channels_mlp_dim
        self.remat, self.activation = remat, activation

    def build(self, input_shape: Shape) -> None:
        batch, tokens, channels = input_shape
        options: dict[str, Any] = {"kernel_initializer": "lecun_normal", "dtype": self.dtype_policy}
        options |= {"activation": self.activation}
        self.norms = [norm("LN", i, dtype=self.dtype_policy) for i in range(2)]
        for layer in self.norms:
            layer.build(input_shape)
        self.token_mixing = MlpBlock(self.tokens_mlp_dim, name="token_mixing", **options)
        self.token_mixing.build((batch, channels, tokens))
        self.channel_mixing = MlpBlock(self.channels_mlp_dim, name="channel_mixing", **options)
        self.channel_mixing.build(input_shape)

    def call(self, x: Any, training: bool | None = None) -> tuple[Any, dict[str, Any]]:
        return rematerialized(self, self.compute, x) if self.remat and training else self.compute(x)

    def compute(self, x: Any) -> tuple[Any, dict[str, Any]]:
        """What `call` returns, whichever way it comes by it."""
        parts = {}
        y = parts["LayerNorm_0"] = self.norms[0](x)
        y = self.token_mixing(ops.transpose(y, (0, 2, 1)))
        y = parts["token_mixing"] = ops.transpose(y, (0, 2, 1))
        x = x + y
        y = parts["LayerNorm_1"] = self.norms[1](x)
        y = parts["channel_mixing"] = self.channel_mixing(y)
        return x + y, parts

    def compute_output_spec(self, x: keras.KerasTensor, training: bool | None = None) -> Any:
        """Shapes without tracing the computation, which keeps building a deep model fast."""
        names = ("LayerNorm_0", "token_mixing", "LayerNorm_1", "channel_mixing")
        spec, *parts = (keras.KerasTensor(x.shape, dtype=self.compute_dtype) for _ in range(5))
        return spec, dict(zip(names, parts, strict=True))

    def get_config(self) -> dict[str, Any]:
        fields = ("tokens_mlp_dim", "channels_mlp_dim", "remat", "activation")
        return {**super().get_config(), **{field: getattr(self, field) for field in fields}}


@register_family(VARIANTS)
class MlpMixer(ImageModel):
    """MLP-Mixer image classifier: (B, H, W, in_channels) float images in [-1, 1] -> logits (B, num_classes).

    Images need not be square; where they do not divide into patches they are padded with zeros. The MLPs over tokens
    fix the number of patches, so a checkpoint fits its own image size only.

    Args:
        num_classes: size of the head; 0 outputs the pooled embedding (B, C).
        image_size: side or (height, width) in pixels.
        in_channels: channels of the input.
        patch_size: side or (height, width) of a patch in pixels.
        hidden_dim: channels C of the tokens.
        num_blocks: mixer blocks.
        tokens_mlp_dim: hidden width of the MLPs over tokens.
        channels_mlp_dim: hidden width of the MLPs over channels.
        features_only: output maps (B, H, W, C) without final norm, `block_k` for each of `feature_blocks`.
        feature_blocks: blocks, counted from 1, whose maps are endpoints `level_1`, … and outputs of `features_only`;
            None is the last one.
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
        ValueError: a field has no meaning.
    """

    PAPER: ClassVar[Paper | None] = Paper(
        "MLP-Mixer: An all-MLP Architecture for Vision, NeurIPS 2021", "https://arxiv.org/abs/2105.01601"
    )
    HEAD: ClassVar[tuple[str, ...]] = ("head",)
    FIXED_BY_IMAGE_SIZE: ClassVar[tuple[str, ...]] = ("token_mixing",)
    PATCHES: ClassVar[tuple[str, str] | None] = ("patch_size", "stem")
    BLOCKS: ClassVar[tuple[str, str] | None] = ("num_blocks", "MixerBlock_{}")

    @plain_arguments
    def __init__(
        self,
        num_classes: int = 1000,
        image_size: int | Size = 224,
        in_channels: int = 3,
        patch_size: int | Size = 16,
        hidden_dim: int = 768,
        num_blocks: int = 12,
        tokens_mlp_dim: int = 384,
        channels_mlp_dim: int = 3072,
        features_only: bool = False,
        feature_blocks: Sequence[int] | None = None,
        classifier_activation: str | None = None,
        preprocessing: dict[str, Any] | None = None,
        dtype: Any = None,
        name: str | None = "mixer",
        remat: bool = False,
        activation: str = "gelu_tanh",
    ) -> None:
        config = constructor_arguments(MlpMixer, locals())
        policy = resolve_policy(dtype)
        check_gelu(activation)
        numbers = check_feature_blocks(feature_blocks, num_blocks)
        config |= {"image_size": as_size(image_size), "dtype": policy.name}
        config["feature_blocks"] = feature_blocks and numbers  # the default goes with num_blocks
        depth = numbers[-1] if features_only else num_blocks

        inputs, images = image_input(MlpMixer, config, policy)
        stem = _stem(hidden_dim, as_size(patch_size, "patch_size"), policy)(images)
        tokens, endpoints = _blocks(stem, depth, config, policy)
        grid = stem.shape[1:3]
        maps = {
            f"block_{k}": TokensToMap(grid, name=f"block_{k}", dtype=policy)(endpoints[f"MixerBlock_{k - 1}"])
            for k in numbers
        }
        endpoints |= {f"level_{i}": level for i, level in enumerate(maps.values(), 1)}
        omitted = [f"MixerBlock_{i}" for i in range(depth, num_blocks)]
        if features_only:
            super().__init__(inputs, endpoints, config, maps, [*omitted, "pre_head_layer_norm"], name)
            return
        tokens = norm("LN", name="pre_head_layer_norm", dtype=policy)(tokens)
        endpoints |= {"tokens": tokens, "pre_head_layer_norm": tokens}
        features = TokensToMap(grid, name="features", dtype=policy)(tokens)
        head = {"name": "head", "kernel_initializer": "zeros"}
        endpoints |= classifier_endpoints(features, num_classes, policy, classifier_activation, **head)
        super().__init__(inputs, endpoints, config, maps, omitted, name)

    @classmethod
    def infer_fields(
        cls, fields: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]], new_head: bool = False
    ) -> dict[str, Any]:
        """See `ImageModel.infer_fields`."""
        inferred = super().infer_fields(fields, shapes, new_head)
        kernel = shapes.get("MixerBlock_0/token_mixing/Dense_0/kernel")
        side = square_side(kernel[0]) if kernel else None
        if side:
            height, width = cls.checkpoint_patch(fields, shapes)
            inferred["image_size"] = (side * height, side * width)
        return inferred


def _stem(hidden_dim: int, patch_size: Size, policy: keras.DTypePolicy) -> keras.layers.Layer:
    """The patch embedding; an image that does not divide is padded with zeros on all sides."""
    return keras.layers.Conv2D(
        hidden_dim,
        patch_size,
        strides=patch_size,
        padding="same",
        kernel_initializer="lecun_normal",
        name="stem",
        dtype=policy,
    )


def _blocks(
    stem: keras.KerasTensor, depth: int, config: Mapping[str, Any], policy: keras.DTypePolicy
) -> tuple[keras.KerasTensor, dict[str, keras.KerasTensor]]:
    """All mixer blocks: the tokens (B, N, C) after the last one, and the endpoints met on the way."""
    endpoints = {"stem": stem}
    x = MapToTokens(name="tokens", dtype=policy)(stem)
    for i in range(depth):
        fields = {field: config[field] for field in ("tokens_mlp_dim", "channels_mlp_dim", "remat", "activation")}
        block = MixerBlock(**fields, name=f"MixerBlock_{i}", dtype=policy)
        x, parts = block(x)
        endpoints |= {block.name: x} | {f"{block.name}/{part}": value for part, value in parts.items()}
    return x, endpoints
