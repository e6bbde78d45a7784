"""Layers of vit-flax' NesT: scalar position embeddings, bias-free 1x1 convolutions, a normalization before each branch.

Reference: conceptofmind/vit-flax, `vit_flax/nest.py`.
"""

from typing import Any

import keras
import numpy as np
from keras import ops

from keras_nest.layers.attention import attention_probabilities, merge_heads, split_heads
from keras_nest.layers.base import Layer
from keras_nest.layers.block_aggregation import ConvPool
from keras_nest.layers.embeddings import Scale, resize_maps, source_block
from keras_nest.layers.encoder import gelu
from keras_nest.layers.image_blocks import block_images
from keras_nest.layers.normalization import ChannelNorm
from keras_nest.layers.random import Dropout
from keras_nest.types import Shape, Size, pair


@keras.saving.register_keras_serializable(package="keras_nest")
class FlattenPatches(Layer):
    """(B, H, W, c) -> (B, H / p, W / p, p * p * c): the pixels of a patch side by side, row-major.

    Args:
        patch_size: side p of a patch in pixels.
        **kwargs: the usual layer arguments.
    """

    def __init__(self, patch_size: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.patch_size = patch_size

    def call(self, images: Any) -> Any:
        _, height, width, channels = self.compute_output_shape(images.shape)
        return ops.reshape(block_images(images, (height, width)), (-1, height, width, channels))

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        batch, height, width, channels = input_shape
        return batch, height // self.patch_size, width // self.patch_size, self.patch_size**2 * channels

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "patch_size": self.patch_size}


def _conv1x1(features: int, index: int, policy: keras.DTypePolicy) -> keras.layers.Conv2D:
    return keras.layers.Conv2D(
        features, 1, use_bias=False, kernel_initializer="lecun_normal", name=f"Conv_{index}", dtype=policy
    )


@keras.saving.register_keras_serializable(package="keras_nest")
class Attention(Layer):
    """Multi-head attention inside each block from one bias-free qkv kernel: (B, T, N, C) -> the same.

    The kernel's outputs are query, key, value, each (h, d) with d = C // h; h * d may be smaller than C.

    Args:
        heads: heads h.
        dropout: dropout rate of the output.
        **kwargs: the usual layer arguments.
    """

    def __init__(self, heads: int, dropout: float = 0.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.heads, self.dropout = heads, dropout

    def build(self, input_shape: Shape) -> None:
        channels = input_shape[-1]
        self.head_dim = channels // self.heads
        inner = self.heads * self.head_dim
        self.to_qkv = _conv1x1(3 * inner, 0, self.dtype_policy)
        self.to_qkv.build(input_shape)
        self.to_out = _conv1x1(channels, 1, self.dtype_policy)
        self.to_out.build((*input_shape[:-1], inner))
        self.output_dropout = Dropout(self.dropout, name="Dropout_0", dtype=self.dtype_policy)

    def call(self, x: Any, training: bool | None = None, return_attention_scores: bool = False) -> Any:
        """Attends; also returns the probabilities (B, T, h, N, N) if asked for."""
        blocks, tokens = x.shape[1:3]
        inner = self.heads * self.head_dim
        qkv = ops.reshape(self.to_qkv(x), (-1, tokens, 3 * inner))
        query, key, value = (split_heads(part, self.heads) for part in ops.split(qkv, 3, axis=-1))
        probabilities = attention_probabilities(query * ops.cast(self.head_dim**-0.5, x.dtype), key)
        values = ops.reshape(merge_heads(ops.matmul(probabilities, value)), (-1, blocks, tokens, inner))
        y = self.output_dropout(self.to_out(values), training=training)
        if not return_attention_scores:
            return y
        return y, ops.reshape(probabilities, (-1, blocks, self.heads, tokens, tokens))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "heads": self.heads, "dropout": self.dropout}


@keras.saving.register_keras_serializable(package="keras_nest")
class FeedForward(Layer):
    """Two bias-free 1x1 convolutions with a tanh GELU between them: (B, T, N, C) -> the same.

    Args:
        mlp_mult: hidden width over C.
        dropout: dropout rate after the activation and after the second convolution.
        **kwargs: the usual layer arguments.
    """

    def __init__(self, mlp_mult: int = 4, dropout: float = 0.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.mlp_mult, self.dropout = mlp_mult, dropout

    def build(self, input_shape: Shape) -> None:
        channels, hidden = input_shape[-1], int(self.mlp_mult * input_shape[-1])
        self.convs = [_conv1x1(width, i, self.dtype_policy) for i, width in enumerate((hidden, channels))]
        self.convs[0].build(input_shape)
        self.convs[1].build((*input_shape[:-1], hidden))
        self.dropouts = [Dropout(self.dropout, name=f"Dropout_{i}", dtype=self.dtype_policy) for i in range(2)]

    def call(self, x: Any, training: bool | None = None) -> Any:
        x = self.dropouts[0](gelu(self.convs[0](x)), training=training)
        return self.dropouts[1](self.convs[1](x), training=training)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "mlp_mult": self.mlp_mult, "dropout": self.dropout}


@keras.saving.register_keras_serializable(package="keras_nest")
class PreNorm(Layer):
    """Holds the normalization in front of a branch: (…, C) -> (…, C).

    Args:
        epsilon: of the normalization.
        **kwargs: the usual layer arguments.
    """

    def __init__(self, epsilon: float = 1e-5, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.epsilon = epsilon

    def build(self, input_shape: Shape) -> None:
        self.norm = ChannelNorm(self.epsilon, name="LayerNorm_0", dtype=self.dtype_policy)
        self.norm.build(input_shape)

    def call(self, x: Any) -> Any:
        return self.norm(x)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "epsilon": self.epsilon}


@keras.saving.register_keras_serializable(package="keras_nest")
class Transformer(Layer):
    """One level: position embedding, then attention and feed-forward branches.

    Input (B, T, N, C). Returns the output of that shape and a dictionary of the intermediates. The embedding `pos_emb`
    is (N,): one scalar a token, shared by blocks and channels.

    Args:
        depth: encoder layers.
        heads: attention heads.
        block: height and width of a block in tokens.
        mlp_mult: hidden width of the feed-forward branch over C.
        dropout: dropout rate.
        **kwargs: the usual layer arguments.
    """

    def __init__(
        self, depth: int, heads: int, block: Size, mlp_mult: int = 4, dropout: float = 0.0, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.depth, self.heads, self.block = depth, heads, pair(block)
        self.mlp_mult, self.dropout = mlp_mult, dropout

    def build(self, input_shape: Shape) -> None:
        policy = self.dtype_policy
        self.pos_emb = self.add_weight(name="pos_emb", shape=(input_shape[2],), initializer="zeros")
        self.norms = [PreNorm(name=f"PreNorm_{i}", dtype=policy) for i in range(2 * self.depth)]
        self.branches: list[keras.layers.Layer] = []
        for i in range(self.depth):
            self.branches += [
                Attention(self.heads, self.dropout, name=f"Attention_{i}", dtype=policy),
                FeedForward(self.mlp_mult, self.dropout, name=f"FeedForward_{i}", dtype=policy),
            ]
        for layer in (*self.norms, *self.branches):
            layer.build(input_shape)

    def call(self, x: Any, training: bool | None = None) -> tuple[Any, dict[str, Any]]:
        parts = {}
        # Of whole tokens: in a graph of operations Keras adds what has a single long axis along the channels, if there
        # are as many of them.
        x = x + ops.broadcast_to(ops.expand_dims(self.pos_emb, -1), x.shape[2:])
        for norm, branch in zip(self.norms, self.branches, strict=True):
            normed = parts[f"{norm.name}/LayerNorm_0"] = norm(x)
            # In the reference the branch runs inside PreNorm, so the two have one output.
            parts[branch.name] = parts[norm.name] = branch(normed, training=training)
            x = x + parts[branch.name]
        return x, parts

    def compute_output_spec(self, x: keras.KerasTensor, training: bool | None = None) -> Any:
        """Shapes without tracing the computation, which keeps building a deep model fast."""
        names = [f"{norm.name}/LayerNorm_0" for norm in self.norms]
        names += [layer.name for layer in (*self.norms, *self.branches)]
        spec = keras.KerasTensor(x.shape, dtype=self.compute_dtype)
        return spec, {name: keras.KerasTensor(x.shape, dtype=self.compute_dtype) for name in names}

    def get_config(self) -> dict[str, Any]:
        fields = ("depth", "heads", "block", "mlp_mult", "dropout")
        return {**super().get_config(), **{field: getattr(self, field) for field in fields}}

    def source_block(self, value: np.ndarray, scale: Scale | None = None) -> Size:
        """Height and width of the block in the position embedding of another image size; see `source_block`."""
        return source_block(value.shape[0], self.block, scale)

    def resize(self, value: np.ndarray, block: Size, method: str = "block") -> np.ndarray:
        """Fits the position embedding of another image size to this layer.

        Args:
            value: (N',).
            block: height and width of its block in tokens.
            method: "block" or "grid"; all blocks share one embedding, so both are the same here.

        Returns:
            (N,), resized linearly with aligned corners.
        """
        return resize_maps(value.reshape(1, *block, 1), self.block).reshape(-1)


@keras.saving.register_keras_serializable(package="keras_nest")
class Aggregate(ConvPool):
    """`ConvPool` with the other normalization, and the map left whole: (B, H, W, C) -> (B, H / 2, W / 2, C').

    Args:
        output_dim: channels C' of the output.
        **kwargs: the usual layer arguments.
    """

    def __init__(self, output_dim: int, **kwargs: Any) -> None:
        super().__init__(output_dim, **{"grid": (1, 1), **kwargs})

    def kernel_initializer(self) -> Any:
        """See `ConvPool.kernel_initializer`."""
        return "lecun_normal"

    def create_norm(self) -> keras.layers.Layer:
        """See `ConvPool.create_norm`."""
        return ChannelNorm(name="LayerNorm_0", dtype=self.dtype_policy)

    def call(self, x: Any) -> Any:
        return self.aggregate(x)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        batch, height, width, _ = input_shape
        return batch, height // 2, width // 2, self.output_dim
