"""What all models with published variants share, and what image classifiers do: endpoints, feature maps, head."""

import os
import types
import warnings
import weakref
import zlib
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple, Self

import keras
import numpy as np

from keras_nest import specs
from keras_nest.imagenet import read_classes
from keras_nest.layers.image_input import ImageInput
from keras_nest.models.configured import ConfiguredModel, copied
from keras_nest.models.heads import feature_pyramid
from keras_nest.models.inputs import check_images, other_preparation, warn_of_range
from keras_nest.models.keras_file import read_keras_file
from keras_nest.models.outputs import ClassifierCompile, is_linear
from keras_nest.targets import SINGLE_LABEL
from keras_nest.types import Size, as_size

# As configurations of models hold them.
IMAGENET_PREPROCESSING = specs.IMAGENET.to_dict()
CIFAR10_PREPROCESSING = specs.CIFAR10.to_dict()
STRETCHED_PREPROCESSING = specs.STRETCHED.to_dict()

# What a model with a head or without puts out: the first of these endpoints that it has.
_OUTPUTS = ("probabilities", "logits", "pre_logits")


# What a user's `keras.Model(model.input, …)` must be given; nothing else of the model is left in it.
preprocessing_of_input: "weakref.WeakKeyDictionary[Any, dict[str, Any] | None]" = weakref.WeakKeyDictionary()


class Paper(NamedTuple):
    """The paper that describes an architecture.

    Attributes:
        title: with venue and year.
        url: where it is.
    """

    title: str
    url: str


class PublishedModel(ConfiguredModel):
    """A model of images that `create_model` makes by name and whose checkpoints the converter reads.

    Attributes:
        endpoints: every named intermediate as a symbolic tensor; keys are Flax module paths.
        config: the arguments that built the model.
        omitted: modules (Flax paths) of the full architecture that this model lacks, and whose checkpoint tensors it
            skips.
        PAPER: what describes the architecture.
        HEAD: names of the layers that belong to the classifier.
        PRE_HEAD: names of optional layers between pooling and head, which a head is worth nothing without, and the
            field of the configuration that makes each.
        FIXED_BY_IMAGE_SIZE: names of layers whose weights no other number of patches fits.
        DETERMINED_BY: fields whose value follows from another field where only that one is given.
        PATCHES: the field that says the size of a patch, and the layer that embeds patches, whose kernel (height,
            width, channels, C) is resized to another size; None where it is not.

    Args:
        inputs: symbolic inputs.
        outputs: symbolic outputs.
        endpoints: see above.
        config: arguments of the subclass, as `get_config` returns them.
        omitted: see above.
        name: name of the model; "+" becomes "_", since TensorFlow allows no other in a scope.

    Raises:
        ValueError: the configuration's `preprocessing` is no specification.
    """

    _warned_of_range = False
    _told_of_preparation: str | None = None
    PAPER: ClassVar[Paper | None] = None
    HEAD: ClassVar[tuple[str, ...]] = ()
    PRE_HEAD: ClassVar[Mapping[str, str]] = types.MappingProxyType({})
    FIXED_BY_IMAGE_SIZE: ClassVar[tuple[str, ...]] = ()
    DETERMINED_BY: ClassVar[Mapping[str, str]] = types.MappingProxyType({})
    PATCHES: ClassVar[tuple[str, str] | None] = None

    def __init__(
        self,
        inputs: Any,
        outputs: Any,
        endpoints: dict[str, keras.KerasTensor],
        config: Mapping[str, Any],
        omitted: Sequence[str] = (),
        name: str | None = None,
    ) -> None:
        if config.get("preprocessing"):
            specs.PreprocessingSpec.from_dict(config["preprocessing"])
        super().__init__(inputs, outputs, config, name and name.replace("+", "_"))
        self.endpoints = endpoints
        self.omitted = tuple(omitted)

    @property
    def image_size(self) -> Size:
        """Height and width of the input in pixels."""
        return tuple(self.config["image_size"])

    @property
    def num_classes(self) -> int:
        """Size of the head; 0 without one."""
        return 0

    @property
    def classifier_activation(self) -> str | None:
        """What the output is of the logits: None (themselves), or their "softmax" or "sigmoid"."""
        return None

    def check_inputs(self, inputs: Any) -> None:
        """Refuses images that are no floats, and warns once of values far outside the range of normalized ones.

        Raises:
            ValueError: they are integers.
        """
        check_images(inputs, self.name)
        if not self._warned_of_range and self.config.get("preprocessing"):
            self._warned_of_range = warn_of_range(inputs, self.config["preprocessing"], self.name)

    def checked(self, data: Any) -> Any:
        """As every model of this package, with a warning of images that were prepared otherwise."""
        told = other_preparation(data, self.config.get("preprocessing"), self.name)
        if told and told != self._told_of_preparation:
            self._told_of_preparation = told  # `fit` comes by again with the validation data of each epoch.
            warnings.warn(told, stacklevel=3)
        return super().checked(data)

    @classmethod
    def checkpoint_patch(cls, fields: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]]) -> Size:
        """Height and width of a checkpoint's patches, maybe others than the model's; arguments as `infer_fields`.

        Raises:
            ValueError: the checkpoint does not tell, and the field is no size.
        """
        assert cls.PATCHES is not None
        field, layer = cls.PATCHES
        kernel = shapes.get(f"{layer}/kernel", ())
        return (kernel[0], kernel[1]) if len(kernel) == 4 else as_size(fields[field], field)

    @classmethod
    def infer_fields(
        cls, fields: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]], new_head: bool = False
    ) -> dict[str, Any]:
        """Fields that the shapes of a checkpoint's tensors show.

        Args:
            fields: the other fields.
            shapes: Flax path -> shape.
            new_head: the checkpoint's head will not be used, nor what only it needs.

        Returns:
            Where the position embedding shows it, `image_size`; of a classifier `num_classes`, 0 if there is no head.
        """
        return {}


class ImageModel(ClassifierCompile, PublishedModel):
    """A functional Keras classifier of images that knows its configuration and names its intermediates.

    What explains, exports and describes a model asks for the attributes and methods below, and for no class: a new
    architecture says here what it has.

    Attributes:
        endpoints: every named intermediate as a symbolic tensor, so that `keras.Model(model.input,
            model.endpoints["level_2"])` computes it. Keys are Flax module paths, and the common names stem,
            level_1 … level_n (maps (B, H, W, C) before pooling, without final norm), features (the normalized last
            map), pre_logits (what the head sees, mostly (B, C)), logits and, with `classifier_activation`,
            probabilities.
        feature_maps: maps (B, H, W, C) that `features_only` outputs, finest first, by the names that it gives them.
        task: one of `keras_nest.choices.TASKS`, what the head was trained to tell of an image: one of its classes, each
            of them for itself, or a number. Files keep it.

    Args:
        inputs: symbolic images (B, H, W, channels).
        endpoints: see above.
        config: arguments of the subclass, as `get_config` returns them; with `features_only` the model outputs its
            feature maps, else probabilities, logits or the embedding.
        feature_maps: see above; None takes the levels, as `feature_pyramid` names them.
        omitted: as for `PublishedModel`; the head need not be named.
        name: name of the model.

    Raises:
        ValueError: the configuration has a `classifier_activation`, but there is no head; or it has `features_only`,
            but there are no maps.
    """

    HEAD: ClassVar[tuple[str, ...]] = ("Dense_0",)
    task = SINGLE_LABEL
    _published_head: tuple[str | list[str] | None, int | None] = (None, None)

    def __init__(
        self,
        inputs: keras.KerasTensor,
        endpoints: dict[str, keras.KerasTensor],
        config: Mapping[str, Any],
        feature_maps: dict[str, keras.KerasTensor] | None = None,
        omitted: Sequence[str] = (),
        name: str | None = None,
    ) -> None:
        if config.get("classifier_activation") and "logits" not in endpoints:
            raise ValueError(
                f"classifier_activation is {config['classifier_activation']!r}, but the model has no head to activate; "
                "leave it out, or ask for num_classes (and not for features_only)."
            )
        maps = feature_pyramid(inputs, endpoints) if feature_maps is None else feature_maps
        if config.get("features_only") and not maps:
            raise ValueError("features_only asks for feature maps, and this configuration has none; leave it out.")
        outputs = next((endpoints[name] for name in _OUTPUTS if name in endpoints), None)
        omitted = omitted if "logits" in endpoints else (*omitted, *self.HEAD)
        super().__init__(inputs, maps if config.get("features_only") else outputs, endpoints, config, omitted, name)
        self.feature_maps = maps
        for layer in self.layers:
            if isinstance(layer, ImageInput):
                layer.describe = lambda: copied(self.config)

    @property
    def evidence_endpoint(self) -> str:
        """The last map or tokens whose values add up to the logits, with which a class activation map is made.

        Its shape is (B, H, W, C), or (B, N, C) with other tokens in front of those of the map `features`.
        """
        return "features"

    @property
    def block_inputs(self) -> tuple[str, ...]:
        """Endpoints (B, T, N, C) that enter the levels of a hierarchy of blocks, finest first; () without one.

        The T blocks lie in a square grid, a fourth as many in each level, the last of one.
        """
        return ()

    @property
    def pools_class_token(self) -> bool:
        """Whether the head sees nothing but a class token, the first of the tokens."""
        return False

    def attention_layers(self) -> dict[str, dict[str, keras.layers.Layer]]:
        """Self-attention layers by the endpoints that are their inputs; of each level, finest first.

        A layer takes `return_attention_scores=True`. In a hierarchy of blocks the levels are level_1 … level_n and the
        scores (B, T, h, N, N); without one there is a single level, of all tokens, and they are (B, h, N, N).
        """
        return {}

    @property
    def num_classes(self) -> int:
        """Size of the head; 0 without one."""
        return self.config["num_classes"] if "logits" in self.endpoints else 0

    @property
    def classifier_activation(self) -> str | None:
        """What the output is of the logits: None (themselves), or their "softmax" or "sigmoid"."""
        return self.config.get("classifier_activation")

    @property
    def head_dataset(self) -> str | None:
        """The data set of `keras_nest.imagenet` whose classes the head answers with, as it was published; else None.

        A head that was trained on or changed since is none of these any more.
        """
        classes = self.head_classes
        return classes if isinstance(classes, str) else None

    @property
    def head_classes(self) -> str | tuple[str, ...] | None:
        """The `head_dataset`, or the names of the classes that were published with the head; None as there."""
        classes, checksum = self._published_head
        if not classes or checksum != self._head_checksum():
            return None
        return classes if isinstance(classes, str) else tuple(classes)

    def mark_head(self, classes: str | Sequence[str]) -> None:
        """Says which classes the head, with the weights that it has now, was published for; files keep that.

        Args:
            classes: a data set, as `keras_nest.imagenet.read_classes` takes it, or one name for each class.
        """
        self._published_head = (classes if isinstance(classes, str) else list(classes)), self._head_checksum()

    def _head_checksum(self) -> int | None:
        """A number that is another one once the head is; without a head None."""
        if not self.num_classes:
            return None
        # No training leaves the bias as it is, and quantization does.
        return zlib.crc32(np.asarray(self.get_layer(self.HEAD[-1]).bias, np.float32).tobytes())

    def get_config(self) -> dict[str, Any]:
        """As `ConfiguredModel.get_config`, and what the head was published for, or trained for."""
        dataset, checksum = self._published_head
        told = {"published_head": [dataset, checksum]} if dataset else {}
        return super().get_config() | told | ({"task": self.task} if self.task != SINGLE_LABEL else {})

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> Self:
        """Inverse of `get_config`."""
        config = dict(config)
        dataset, checksum = config.pop("published_head", (None, None))
        task = config.pop("task", SINGLE_LABEL)
        model = super().from_config(config, custom_objects)
        model._published_head, model.task = (dataset, checksum), task
        return model

    def with_fields(self, **fields: Any) -> Self:
        """As `ConfiguredModel.with_fields`; a head that is left out takes its activation with it."""
        merged = self._with(fields)
        for field in ("published_head", "task"):  # the weights are new
            merged.pop(field, None)
        if "classifier_activation" not in fields and (merged.get("features_only") or merged.get("num_classes") == 0):
            merged.pop("classifier_activation", None)
        return type(self).from_config(merged)

    @classmethod
    def infer_fields(
        cls, fields: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]], new_head: bool = False
    ) -> dict[str, Any]:
        """See `PublishedModel.infer_fields`."""
        head = shapes.get(f"{cls.HEAD[-1]}/kernel")
        return {"num_classes": head[-1] if head else 0}


def published_class_names(model: keras.Model) -> tuple[str, ...] | None:
    """Names of a model's classes, in the order of the logits, while its head is one that was published; else None."""
    classes = model.head_classes if isinstance(model, ImageModel) else None
    return tuple(each.name for each in read_classes(classes)) if isinstance(classes, str) else classes


def read_model(path: str | os.PathLike[str], trust: bool = False, around: bool = False) -> Any:
    """Reads a .keras file of this package; `keras_nest.open_model` reads all that a training leaves, and names.

    Args:
        path: local, or an address that TensorFlow reads.
        trust: also read a file that carries code, see `HubLayer`.
        around: also read a user's functional or Sequential model around one of this package.

    Returns:
        A model of images, a `LiT` or one of its towers, or a `NesTGenerator`.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is damaged, holds another model, or carries code; nothing was built then.
    """
    return read_keras_file(path, ConfiguredModel, trust, around)


def logits_model(model: keras.Model) -> keras.Model:
    """The network of a classifier up to its logits, which shares all layers: the model itself unless it goes on.

    Args:
        model: of any kind; those that are no classifier of this package are returned as they are.

    Raises:
        ValueError: the head itself was given an activation, so that nothing is the logits.
    """
    if not isinstance(model, ImageModel) or "logits" not in model.endpoints:
        return model
    if not is_linear(model.endpoints["logits"]):
        raise ValueError(
            f"The head of the model {model.name!r} was given an activation of its own, so that it has no logits; make "
            'it linear again, and create the model with classifier_activation="softmax".'
        )
    if "probabilities" not in model.endpoints:
        return model
    return keras.Model(model.input, model.endpoints["logits"], name=model.name)
