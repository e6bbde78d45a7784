"""NesT as an image decoder: noise, and perhaps a class, to images.

Zhang, Zhang, Zhao, Chen, Arik, Pfister, "Nested Hierarchical Transformer: Towards Accurate, Data-Efficient and
Interpretable Visual Understanding", AAAI 2022, section on image generation ("transposed NesT"). Neither code nor
checkpoints of it are published.
"""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from keras_nest.hints import did_you_mean
from keras_nest.layers import BlockDeaggregation, EncoderNDBlock, PositionEmbedding, TokensToImages
from keras_nest.layers.encoder import ATTENTIONS
from keras_nest.layers.initializers import kernel_initializer
from keras_nest.layers.normalization import norm
from keras_nest.models.arguments import plain_arguments
from keras_nest.models.configured import ConfiguredModel
from keras_nest.models.fields import (
    check_heads,
    check_image_size,
    constructor_arguments,
    resolve_policy,
)
from keras_nest.types import Size, as_size

# The number in the name is the size of the images. The first is what `NesTGenerator()` makes.
VARIANTS: dict[str, dict[str, Any]] = {
    "nest_generator_64": {},
    "nest_generator_small_32": {
        "image_size": 32,
        "latent_dim": 64,
        "embedding_dims": (256, 128, 64),
        "num_heads": (4, 4, 2),
        "num_layers_per_block": (2, 2, 2),
        "patch_size": 2,
    },
}
# Fields with a value for each level.
_OF_LEVELS = ("embedding_dims", "num_heads", "num_layers_per_block")
_BATCH = 64


@keras.saving.register_keras_serializable(package="keras_nest")
class NesTGenerator(ConfiguredModel):
    """NesT upside down: noise (B, latent_dim) -> images (B, H, W, out_channels) in (-1, 1).

    With classes the input is a pair: noise, and integers (B,). The noise, beside an embedding of the class, is
    projected to the tokens of the first level, which is a single block. In each level tokens attend to those of their
    own block. Between two levels every block becomes four (`BlockDeaggregation`), so that level l has 4^l blocks of
    equal size. A last projection makes pixels of tokens; tanh keeps them in (-1, 1).

    The model has no published twin: no code and no weights to compare it with. Widths and depths are this package's
    own; the default has 83 million parameters.

    Attributes:
        endpoints: named intermediates as symbolic tensors: PositionEmbedding_l, EncoderNDBlock_i and
            BlockDeaggregation_l, each (B, T, N, C), level_1 … level_n, the ends of the levels, and images.
        config: the arguments that built the model.

    Args:
        image_size: side or (height, width) in pixels.
        latent_dim: length of the noise.
        num_classes: classes that can be asked for; 0 makes a model without.
        out_channels: channels of the images.
        embedding_dims: channels C of each level, the coarsest first.
        num_heads: attention heads of each level.
        num_layers_per_block: encoder layers of each level.
        patch_size: side of a token of the last level in pixels.
        kernel_size: side of the kernels between levels; with 1 blocks that are parted never see each other again.
        attn_type: "local_multi_head" or "local_multi_query".
        mlp_ratio: hidden width of the MLP over C.
        dtype: dtype policy of the layers, such as "mixed_bfloat16"; None takes the global one.
        name: name of the model.

    Raises:
        ValueError: a field has no meaning, or the image size does not divide into the blocks.
    """

    @plain_arguments
    def __init__(
        self,
        image_size: int | Size = 64,
        latent_dim: int = 128,
        num_classes: int = 0,
        out_channels: int = 3,
        embedding_dims: Sequence[int] = (1024, 512, 256, 128),
        num_heads: Sequence[int] = (16, 8, 4, 4),
        num_layers_per_block: Sequence[int] = (3, 3, 2, 2),
        patch_size: int = 1,
        kernel_size: int = 3,
        attn_type: str = "local_multi_head",
        mlp_ratio: float = 4,
        dtype: Any = None,
        name: str | None = "nest_generator",
    ) -> None:
        config = constructor_arguments(NesTGenerator, locals())
        policy = resolve_policy(dtype)
        config |= {field: tuple(config[field]) for field in _OF_LEVELS}
        config |= {"image_size": as_size(image_size), "dtype": policy.name}
        _check_fields(config)
        noise = keras.Input((latent_dim,), dtype=policy.variable_dtype, name="noise")
        inputs: Any = noise
        if num_classes:
            classes = keras.Input((), dtype="int32", name="class_index")
            inputs = [noise, classes]
        endpoints = _levels(_first_block(inputs, config, policy), config, policy)
        super().__init__(inputs, endpoints["images"], config, name)
        self.endpoints = endpoints

    @property
    def num_classes(self) -> int:
        """Classes that can be asked for; 0 without."""
        return self.config["num_classes"]

    def sample(
        self,
        n: int,
        seed: int = 0,
        class_index: int | Sequence[int] | np.ndarray | None = None,
        truncation: float = 1.0,
    ) -> np.ndarray:
        """Draws images, the same for the same arguments; the first of them do not depend on how many there are.

        Args:
            n: how many.
            seed: of the noise.
            class_index: class of all images, or of each; None takes the classes in turns.
            truncation: factor of the noise, which is standard normal: below 1 images are more alike, and more typical.

        Returns:
            float32 (n, H, W, out_channels) in (-1, 1).

        Raises:
            ValueError: a number is out of range, or a class is asked of a model that has none.
        """
        if n < 1:
            raise ValueError(f"n is {n}; it must be 1 or more.")
        if not 0 <= truncation <= 1:
            raise ValueError(f"truncation is {truncation}; it must be from 0 to 1.")
        noise = np.random.default_rng(seed).standard_normal((n, self.config["latent_dim"]), np.float32)
        inputs = (truncation * noise, *self._classes(n, class_index))
        parts = []
        for start in range(0, n, _BATCH):
            part = [values[start : start + _BATCH] for values in inputs]
            parts.append(keras.ops.convert_to_numpy(self(part if self.num_classes else part[0], training=False)))
        return np.concatenate(parts)

    def _classes(self, n: int, class_index: Any) -> tuple[np.ndarray, ...]:
        """One class for each image, int32 (n,); nothing without classes."""
        if not self.num_classes:
            if class_index is not None:
                raise ValueError(f"class_index is {class_index}, but the model has no classes; leave it out.")
            return ()
        given = np.arange(n) % self.num_classes if class_index is None else np.asarray(class_index)
        if given.shape not in ((), (n,)) or given.dtype.kind not in "iu":
            raise ValueError(f"class_index is {class_index!r}; it must be a whole number, or {n} of them.")
        if given.min() < 0 or given.max() >= self.num_classes:
            raise ValueError(f"class_index is {class_index!r}; it must be from 0 to {self.num_classes - 1}.")
        return (np.broadcast_to(given, (n,)).astype(np.int32),)


def create_generator(name: str = "nest_generator_64", **fields: Any) -> NesTGenerator:
    """A generator with new weights.

    Args:
        name: one of `VARIANTS`.
        **fields: of `NesTGenerator`, in the place of the variant's own.

    Raises:
        ValueError: an unknown name, or a field has no meaning.
    """
    if name not in VARIANTS:
        raise ValueError(f"There is no generator {name!r}; {did_you_mean(name, VARIANTS)}")
    return NesTGenerator(**{"name": name, **VARIANTS[name], **fields})


def _first_block(inputs: Any, config: dict[str, Any], policy: keras.DTypePolicy) -> keras.KerasTensor:
    """The tokens of the first level, (B, 1, N, C), from noise and class."""
    x = inputs
    if config["num_classes"]:
        noise, classes = inputs
        # As large as the noise, so that neither drowns the other.
        embedding = keras.layers.Embedding(
            config["num_classes"],
            config["latent_dim"],
            embeddings_initializer=keras.initializers.RandomNormal(stddev=1.0),
            name="Embed_0",
            dtype=policy,
        )
        x = keras.layers.Concatenate(name="noise_and_class", dtype=policy)([noise, embedding(classes)])
    (height, width), channels = _block(config), config["embedding_dims"][0]
    projection = keras.layers.Dense(
        height * width * channels, kernel_initializer=kernel_initializer(), name="Dense_0", dtype=policy
    )
    return keras.layers.Reshape((1, height * width, channels), name="tokens", dtype=policy)(projection(x))


def _levels(x: keras.KerasTensor, config: dict[str, Any], policy: keras.DTypePolicy) -> dict[str, keras.KerasTensor]:
    """All levels and the images: the endpoints met on the way."""
    endpoints: dict[str, keras.KerasTensor] = {}
    block, dims, index = _block(config), config["embedding_dims"], 0
    for level, depth in enumerate(config["num_layers_per_block"]):
        grid = (2**level, 2**level)
        x = _call(PositionEmbedding(grid, block, name=f"PositionEmbedding_{level}", dtype=policy), x, endpoints)
        for _ in range(depth):
            encoder = _encoder(config, config["num_heads"][level], index, policy)
            x = endpoints[encoder.name] = encoder(x)[0]
            index += 1
        endpoints[f"level_{level + 1}"] = x
        if level + 1 < len(dims):
            part = {"kernel_size": config["kernel_size"], "name": f"BlockDeaggregation_{level}", "dtype": policy}
            x = _call(BlockDeaggregation(dims[level + 1], grid, block, **part), x, endpoints)
    x = _call(norm("LN", dtype=policy), x, endpoints)
    pixels = {"patch_size": config["patch_size"], "name": "images", "dtype": policy}
    _call(TokensToImages(config["out_channels"], grid, block, **pixels), x, endpoints)
    return endpoints


def _call(layer: keras.layers.Layer, x: keras.KerasTensor, endpoints: dict[str, keras.KerasTensor]) -> Any:
    """Calls a layer and keeps its output under its name."""
    endpoints[layer.name] = layer(x)
    return endpoints[layer.name]


def _encoder(config: dict[str, Any], num_heads: int, index: int, policy: keras.DTypePolicy) -> EncoderNDBlock:
    return EncoderNDBlock(
        num_heads,
        attn_type=config["attn_type"],
        mlp_ratio=config["mlp_ratio"],
        name=f"EncoderNDBlock_{index}",
        dtype=policy,
    )


def _block(config: dict[str, Any]) -> Size:
    """Height and width of a block in tokens, the same in all levels."""
    height, width = config["image_size"]
    unit = _unit(config)
    return height // unit, width // unit


def _unit(config: dict[str, Any]) -> int:
    """Pixels along a side that one token of the first level becomes."""
    return config["patch_size"] * 2 ** (len(config["embedding_dims"]) - 1)


def _check_fields(config: dict[str, Any]) -> None:
    if config["attn_type"] not in ATTENTIONS:
        raise ValueError(f"attn_type is {config['attn_type']!r}; it must be one of {', '.join(map(repr, ATTENTIONS))}.")
    levels = len(config["embedding_dims"])
    for field in _OF_LEVELS:
        if len(config[field]) != levels or not levels or min(config[field]) < 1:
            raise ValueError(f"{field} is {config[field]}; it must hold a positive number for each of {levels} levels.")
    for width, heads in zip(config["embedding_dims"], config["num_heads"], strict=True):
        check_heads(width, heads, "embedding_dims")
    reason = f"{2 ** (levels - 1)} x {2 ** (levels - 1)} blocks of tokens of {config['patch_size']} pixels"
    check_image_size(config["image_size"], _unit(config), reason)
