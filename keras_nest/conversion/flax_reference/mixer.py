"""MLP-Mixer as Flax (Linen) modules, the oracle that conversions are checked against.

Tolstikhin et al., "MLP-Mixer: An all-MLP Architecture for Vision", NeurIPS 2021. The parameter tree has the paths and
shapes of google-research/vision_transformer: where submodules have no name, Flax names them (`MixerBlock_0`,
`MixerBlock_1`, ...), so class names and the order in which submodules are made are part of the format.

Shapes: B batch, H W height and width, N tokens, C channels. Everything is float32 unless the caller passes another
dtype.
"""

import functools

import flax.linen as nn
import jax

from keras_nest.conversion.flax_reference.modules import register_module

LayerNorm = functools.partial(nn.LayerNorm, epsilon=1e-6)


@register_module
class MlpMixer(nn.Module):
    """MLP-Mixer.

    The parameters fix the number of tokens, and with it the image size. Fields carry the names of the reference
    configuration.

    Attributes:
        num_classes: classes; 0 leaves out the head.
        patch_size: side, or (height, width), in pixels of the patches that become tokens; images that do not divide
            into patches are padded with zeros.
        hidden_dim: channels of the tokens.
        num_blocks: number of Mixer layers.
        tokens_mlp_dim: hidden size of the MLPs across tokens.
        channels_mlp_dim: hidden size of the MLPs across channels.
        activation: of the MLPs, "gelu_tanh" (the approximation) or "gelu" (exact).
    """

    num_classes: int = 1000
    patch_size: int | tuple[int, int] = 16
    hidden_dim: int = 768
    num_blocks: int = 12
    tokens_mlp_dim: int = 384
    channels_mlp_dim: int = 3072
    activation: str = "gelu_tanh"

    @nn.compact
    def __call__(self, images: jax.Array, train: bool = False) -> jax.Array:
        """Classifies images.

        Sows "pre_logits", the pooled vector (B, C), into the collection "intermediates".

        Args:
            images: (B, H, W, channels), normalized.
            train: without effect, since there is no dropout; taken because all modules here take it.

        Returns:
            Logits (B, num_classes), or the pooled vector (B, C) if num_classes is 0.
        """
        patch = (self.patch_size,) * 2 if isinstance(self.patch_size, int) else self.patch_size
        x = nn.Conv(self.hidden_dim, patch, strides=patch, padding="SAME", name="stem")(images)
        x = x.reshape(len(x), -1, self.hidden_dim)
        for _ in range(self.num_blocks):
            x = MixerBlock(self.tokens_mlp_dim, self.channels_mlp_dim, self.activation)(x)
        x = LayerNorm(name="pre_head_layer_norm")(x)
        x = x.mean(axis=1)
        self.sow("intermediates", "pre_logits", x)
        return nn.Dense(self.num_classes, kernel_init=nn.initializers.zeros, name="head")(x) if self.num_classes else x


class MixerBlock(nn.Module):
    """Mixes tokens, then channels."""

    tokens_mlp_dim: int
    channels_mlp_dim: int
    activation: str

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps (B, N, C) to the same shape."""
        y = LayerNorm()(x).swapaxes(1, 2)
        x = x + MlpBlock(self.tokens_mlp_dim, self.activation, name="token_mixing")(y).swapaxes(1, 2)
        return x + MlpBlock(self.channels_mlp_dim, self.activation, name="channel_mixing")(LayerNorm()(x))


class MlpBlock(nn.Module):
    """Two dense layers with GELU between them."""

    mlp_dim: int
    activation: str

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps (..., features) to the same shape."""
        y = nn.gelu(nn.Dense(self.mlp_dim)(x), approximate=self.activation == "gelu_tanh")
        return nn.Dense(x.shape[-1])(y)
