"""ResNet with batch normalization, the convolutional baseline of the NesT paper's code.

He et al., "Deep Residual Learning for Image Recognition", CVPR 2016. Reference: google-research/nested-transformer,
`models/resnet_v1.py`.

`keras.applications.ResNet50` is another network: it has the stride in the first 1x1 convolution of a block and not in
the 3x3 one, biases in all convolutions, symmetric padding, a ReLU in the root, epsilon 1.001e-5 and momentum 0.99,
Glorot-uniform kernels, probabilities as output, and images in BGR less their mean.
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import keras

from keras_nest.layers.base import Layer
from keras_nest.layers.normalization import norm
from keras_nest.layers.resnet import ResidualUnit
from keras_nest.models.arguments import plain_arguments
from keras_nest.models.base import CIFAR10_PREPROCESSING, IMAGENET_PREPROCESSING, ImageModel, Paper
from keras_nest.models.families import register_family
from keras_nest.models.fields import constructor_arguments, resolve_policy
from keras_nest.models.heads import classifier_endpoints
from keras_nest.models.inputs import image_input
from keras_nest.types import Shape, Size, as_size

# Without the augmentations of NesT, which the ResNets do without, the reference leaves pixels in [0, 1].
_UNIT_PIXELS = {"mean": [0.0, 0.0, 0.0], "std": [1.0, 1.0, 1.0]}
_IMAGENET = {"image_size": 224, "num_classes": 1000, "preprocessing": IMAGENET_PREPROCESSING | _UNIT_PIXELS}
_CIFAR = {"image_size": 32, "num_classes": 10, "preprocessing": CIFAR10_PREPROCESSING | _UNIT_PIXELS}

# The models of the reference's file; the number in the name is that of layers.
VARIANTS: dict[str, dict[str, Any]] = {
    "resnet18": {**_IMAGENET, "stage_sizes": (2, 2, 2, 2), "bottleneck": False},
    "resnet34": {**_IMAGENET, "stage_sizes": (3, 4, 6, 3), "bottleneck": False},
    "resnet50": {**_IMAGENET, "stage_sizes": (3, 4, 6, 3)},
    "resnet101": {**_IMAGENET, "stage_sizes": (3, 4, 23, 3)},
    "resnet152": {**_IMAGENET, "stage_sizes": (3, 8, 36, 3)},
    "resnet200": {**_IMAGENET, "stage_sizes": (3, 24, 36, 3)},
    "resnet18_cifar": {**_CIFAR, "stage_sizes": (2, 2, 2, 2), "bottleneck": False, "small_input": True},
}


@keras.saving.register_keras_serializable(package="keras_nest")
class ResNetBlock(ResidualUnit):
    """Residual block with the activation after the sum: (B, H, W, C) -> (B, H / stride, W / stride, C').

    Either a bottleneck of 1x1, 3x3 and 1x1 convolutions, C' = 4 * features, or two 3x3 convolutions, C' = features. The
    first 3x3 convolution has the stride. The shortcut is projected where stride or channels change.

    Source: reference modules `BottleneckResNetBlock` and `ResNetBlock`; only the latter starts as its shortcut.

    Args:
        features: channels of the 3x3 convolutions.
        stride: see above.
        bottleneck: which of the two.
        **kwargs: the usual layer arguments.
    """

    def __init__(self, features: int, stride: int = 1, bottleneck: bool = True, **kwargs: Any) -> None:
        super().__init__(features, stride, **kwargs)
        self.bottleneck = bottleneck

    def build(self, input_shape: Shape) -> None:
        output_shape = self.compute_output_shape(input_shape)
        features, stride, policy = self.features, self.stride, self.dtype_policy
        if self.bottleneck:
            sizes = [(features, 1, 1, "ones"), (features, 3, stride, "ones"), (4 * features, 1, 1, "ones")]
        else:
            sizes = [(features, 3, stride, "ones"), (features, 3, 1, "zeros")]
        self.branch = [_conv_and_norm(*size, f"conv{i}", f"bn{i}", policy) for i, size in enumerate(sizes, 1)]
        self.projection = None
        if output_shape != tuple(input_shape):
            self.projection = _conv_and_norm(output_shape[-1], 1, stride, "ones", "proj_conv", "proj_bn", policy)
            self._build_pair(self.projection, input_shape)
        for pair in self.branch:
            input_shape = self._build_pair(pair, input_shape)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        *rest, channels = super().compute_output_shape(input_shape)
        return *rest, channels if self.bottleneck else self.features

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "bottleneck": self.bottleneck}


@keras.saving.register_keras_serializable(package="keras_nest")
class ResNetBlocks(Layer):
    """A stage: blocks `block1`, `block2`, …, the first with the stride; shapes as those of `ResNetBlock`.

    Returns the output and a dictionary of those of the blocks by name.

    Source: reference module `ResNetStage`.

    Args:
        num_blocks: number of blocks.
        features: channels of the 3x3 convolutions.
        stride: of the first block.
        bottleneck: see `ResNetBlock`.
        **kwargs: the usual layer arguments.
    """

    def __init__(self, num_blocks: int, features: int, stride: int = 1, bottleneck: bool = True, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.num_blocks, self.features, self.stride, self.bottleneck = num_blocks, features, stride, bottleneck

    def build(self, input_shape: Shape) -> None:
        self.blocks = []
        for i in range(self.num_blocks):
            options = {"bottleneck": self.bottleneck, "name": f"block{i + 1}", "dtype": self.dtype_policy}
            block = ResNetBlock(self.features, 1 if i else self.stride, **options)
            block.build(input_shape)
            input_shape = block.compute_output_shape(input_shape)
            self.blocks.append(block)

    def call(self, x: Any) -> tuple[Any, dict[str, Any]]:
        parts = {}
        for block in self.blocks:
            x = parts[block.name] = block(x)
        return x, parts

    def compute_output_spec(self, x: keras.KerasTensor) -> Any:
        """Shapes without tracing the computation, which keeps building a deep model fast."""
        shape = self.blocks[0].compute_output_shape(x.shape)
        spec, *parts = (keras.KerasTensor(shape, dtype=self.compute_dtype) for _ in range(self.num_blocks + 1))
        return spec, {block.name: part for block, part in zip(self.blocks, parts, strict=True)}

    def get_config(self) -> dict[str, Any]:
        fields = ("num_blocks", "features", "stride", "bottleneck")
        return {**super().get_config(), **{field: getattr(self, field) for field in fields}}


@register_family(VARIANTS)
class ResNet(ImageModel):
    """ResNet image classifier: (B, H, W, in_channels) float images in [0, 1] -> logits (B, num_classes).

    Images may have any size and need not be square; all weights fit all sizes. As in the reference, the root has a ReLU
    for small images only: otherwise the normalized map is pooled as it is.

    Args:
        num_classes: size of the head; 0 outputs the pooled embedding (B, C).
        image_size: side or (height, width) in pixels.
        in_channels: channels of the input.
        stage_sizes: blocks of each stage; every stage but the first halves the sides of the map.
        width_factor: channels of the root over 64; every stage doubles the channels.
        bottleneck: blocks of 1x1, 3x3 and 1x1 convolutions, with 4 times the channels outside; else of two 3x3 ones.
        small_input: a root that keeps the size of the image, a 3x3 convolution; else a 7x7 convolution and a pooling
            divide it by 4.
        features_only: output a dictionary of the maps (B, H, W, C) of the stages, finest first; Pk has stride 2^k.
        classifier_activation: what the output is of the logits: None (themselves), "softmax" or "sigmoid" (the
            probabilities of the classes); `compile` then takes the loss that fits.
        preprocessing: evaluation preprocessing, see `keras_nest.preprocessor`.
        dtype: dtype policy of the layers, such as "mixed_bfloat16"; None takes the global one.
        name: name of the model.

    Raises:
        ValueError: a field has no meaning.
    """

    PAPER: ClassVar[Paper | None] = Paper(
        "Deep Residual Learning for Image Recognition, CVPR 2016", "https://arxiv.org/abs/1512.03385"
    )
    HEAD: ClassVar[tuple[str, ...]] = ("head",)

    @plain_arguments
    def __init__(
        self,
        num_classes: int = 1000,
        image_size: int | Size = 224,
        in_channels: int = 3,
        stage_sizes: Sequence[int] = (3, 4, 6, 3),
        width_factor: float = 1,
        bottleneck: bool = True,
        small_input: bool = False,
        features_only: bool = False,
        classifier_activation: str | None = None,
        preprocessing: dict[str, Any] | None = None,
        dtype: Any = None,
        name: str | None = "resnet",
    ) -> None:
        config = constructor_arguments(ResNet, locals())
        policy = resolve_policy(dtype)
        config |= {"image_size": as_size(image_size), "stage_sizes": tuple(stage_sizes), "dtype": policy.name}
        _check_fields(config)

        inputs, images = image_input(ResNet, config, policy)
        endpoints = _root(images, config, policy)
        endpoints |= _stages(endpoints["stem"], config, policy)
        if not features_only:
            features = endpoints[f"level_{len(stage_sizes)}"]
            head = {"name": "head", "kernel_initializer": "zeros"}
            endpoints |= classifier_endpoints(features, num_classes, policy, classifier_activation, **head)
        super().__init__(inputs, endpoints, config, name=name)


def _root(
    images: keras.KerasTensor, config: Mapping[str, Any], policy: keras.DTypePolicy
) -> dict[str, keras.KerasTensor]:
    """The endpoints before the stages; the last one is `stem`."""
    side, stride = (3, 1) if config["small_input"] else (7, 2)
    conv, batch_norm = _conv_and_norm(_width(config), side, stride, "ones", "init_conv", "init_bn", policy)
    if config["small_input"]:
        last = keras.layers.ReLU(name="stem", dtype=policy)
    else:
        # Padded with minus infinity, at the bottom and right only where a side is even: SAME as in TensorFlow.
        last = keras.layers.MaxPooling2D(3, strides=2, padding="same", name="stem", dtype=policy)
    x = conv(images)
    y = batch_norm(x)
    return {"init_conv": x, "init_bn": y, "stem": last(y)}


def _stages(x: keras.KerasTensor, config: Mapping[str, Any], policy: keras.DTypePolicy) -> dict[str, keras.KerasTensor]:
    """The endpoints of all stages."""
    endpoints: dict[str, keras.KerasTensor] = {}
    for i, blocks in enumerate(config["stage_sizes"]):
        features, stride = _width(config) * 2**i, 2 if i else 1
        stage = ResNetBlocks(blocks, features, stride, config["bottleneck"], name=f"stage{i + 1}", dtype=policy)
        x, parts = stage(x)
        endpoints |= {f"{stage.name}/{part}": value for part, value in parts.items()}
        endpoints |= {stage.name: x, f"level_{i + 1}": x}
    return endpoints


def _conv_and_norm(
    features: int, side: int, stride: int, scale: str, conv: str, norm_name: str, policy: keras.DTypePolicy
) -> tuple[keras.layers.Layer, keras.layers.Layer]:
    """A convolution, padded as `StdConv` is, and the normalization behind it, with the initial `scale`."""
    options = {"padding": "same", "use_bias": False, "kernel_initializer": "lecun_normal", "dtype": policy}
    return (
        keras.layers.Conv2D(features, side, strides=stride, name=conv, **options),
        norm("BN", name=norm_name, gamma_initializer=scale, dtype=policy),
    )


def _width(config: Mapping[str, Any]) -> int:
    """Channels of the root."""
    return int(64 * config["width_factor"])


def _check_fields(config: Mapping[str, Any]) -> None:
    if not config["stage_sizes"] or min(config["stage_sizes"]) < 1:
        raise ValueError(
            f"stage_sizes is {config['stage_sizes']}; it must hold a positive number of blocks for each stage."
        )
    width = 64 * config["width_factor"]
    if width < 1 or width % 1:
        raise ValueError(
            f"width_factor {config['width_factor']} makes a root of {width:g} channels; choose a whole number of them."
        )
