"""What all image models share: configuration, endpoints, head and pyramid."""

import inspect
import itertools
import math
import os
import types
import weakref
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

import keras

from keras_nest import specs
from keras_nest.choices import ACTIVATIONS
from keras_nest.layers.changes import changes, restore, set_trainable, states, without
from keras_nest.models.first_batch import watched
from keras_nest.models.inputs import check_images, warn_of_range
from keras_nest.models.keras_file import read_keras_file
from keras_nest.models.outputs import ClassifierCompile, ClassifierHead, is_linear
from keras_nest.types import Size

# As configurations of models hold them.
IMAGENET_PREPROCESSING = specs.IMAGENET.to_dict()
CIFAR10_PREPROCESSING = specs.CIFAR10.to_dict()
STRETCHED_PREPROCESSING = specs.STRETCHED.to_dict()

# What a model with a head or without puts out: the first of these endpoints that it has.
_OUTPUTS = ("probabilities", "logits", "pre_logits")


# What a user's `keras.Model(model.input, …)` must be given; nothing else of the model is left in it.
preprocessing_of_input: "weakref.WeakKeyDictionary[Any, dict[str, Any] | None]" = weakref.WeakKeyDictionary()


class ConfiguredModel(keras.Model):
    """A functional Keras model that is saved as the arguments that built it, and what was changed on its layers since.

    Attributes:
        config: these arguments. The evaluation preprocessing in them may be replaced; the others say how the model was
            built, and a model that they no longer describe is not saved.

    Args:
        inputs: symbolic inputs.
        outputs: symbolic outputs.
        config: arguments of the subclass.
        name: name of the model.
    """

    config: dict[str, Any]

    def __init__(self, inputs: Any, outputs: Any, config: Mapping[str, Any], name: str | None = None) -> None:
        super().__init__(inputs=inputs, outputs=outputs, name=name)
        # A copy of its own: the published tables hold the same dictionaries.
        self.config = _copied(config)
        # Read-only, so that Keras does not take the dictionaries for such with layers.
        self._config_as_built = types.MappingProxyType(_copied(config))
        self._states_as_built = types.MappingProxyType(states(self))

    def check_inputs(self, inputs: Any) -> None:
        """Refuses what the model cannot mean anything by; inputs are symbolic, or specifications, or have values.

        Raises:
            ValueError: says what they must be.
        """

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """As every Keras model, once `check_inputs` agrees: Keras would cast whatever comes."""
        self.check_inputs(args[0] if args else kwargs.get("inputs"))
        return super().__call__(*args, **kwargs)

    def fit(self, x: Any = None, *args: Any, **kwargs: Any) -> Any:
        """As every Keras model."""
        return super().fit(self.checked(x), *args, **kwargs)

    def evaluate(self, x: Any = None, *args: Any, **kwargs: Any) -> Any:
        """As every Keras model."""
        return super().evaluate(self.checked(x), *args, **kwargs)

    def predict(self, x: Any, *args: Any, **kwargs: Any) -> Any:
        """As every Keras model."""
        return super().predict(self.checked(x), *args, **kwargs)

    def train_on_batch(self, x: Any, *args: Any, **kwargs: Any) -> Any:
        """As every Keras model."""
        return super().train_on_batch(self.checked(x), *args, **kwargs)

    def test_on_batch(self, x: Any, *args: Any, **kwargs: Any) -> Any:
        """As every Keras model."""
        return super().test_on_batch(self.checked(x), *args, **kwargs)

    def predict_on_batch(self, x: Any) -> Any:
        """As every Keras model."""
        return super().predict_on_batch(self.checked(x))

    def checked(self, data: Any) -> Any:
        """Data for `fit`, `evaluate` or `predict` whose inputs `check_inputs` looks at.

        Args:
            data: their first argument.

        Returns:
            Arrays as they are, now that they were looked at; of a data set one that shows its first batch when it is
            read.

        Raises:
            ValueError: as `check_inputs`.
        """
        spec = getattr(data, "element_spec", data)
        self.check_inputs(spec[0] if spec is not data and isinstance(spec, tuple) else spec)
        return watched(data, self.check_inputs)

    def get_config(self) -> dict[str, Any]:
        """Arguments of the constructor, whether the model is frozen, and what was changed on its layers.

        Raises:
            ValueError: a change that no file keeps.
        """
        _check_config(self)
        _check_arguments(type(self), self.config)
        config = {**_copied(self.config), "name": self.name}
        # A subclass may add layers of its own, and makes them again itself.
        changed = changes(self, self._states_as_built, may_have_more=not _is_ours(type(self)))
        return (
            config | ({} if self.trainable else {"trainable": False}) | ({"changed_layers": changed} if changed else {})
        )

    def save(self, filepath: str | os.PathLike[str], overwrite: bool = True, **options: Any) -> None:
        """As in Keras, which opens the file first: what `get_config` refuses must not cost the one that lies there."""
        self.get_config()
        super().save(filepath, overwrite=overwrite, **options)

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> Self:
        """Inverse of `get_config`."""
        config = dict(config)
        trainable, changed = config.pop("trainable", True), config.pop("changed_layers", {})
        frozen = config.pop("frozen_layers", ())
        model = cls(**config)
        if not trainable:
            set_trainable(model, False)
        # A head that is left out, for one.
        restore(model, without(changed, getattr(model, "omitted", ())))
        # How files of the first versions said it.
        for layer in frozen:
            model.get_layer(layer).trainable = False
        return model


def _copied(value: Any) -> Any:
    """A copy of nested dictionaries and lists; `copy.deepcopy` of those that Keras tracks would copy the model, too."""
    if isinstance(value, Mapping):
        return {key: _copied(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return (tuple if isinstance(value, tuple) else list)(map(_copied, value))
    return value


def _check_config(model: ConfiguredModel) -> None:
    """Refuses a configuration that no longer says how the model was built."""
    built = model._config_as_built
    for field in built.keys() | model.config.keys():
        if field != "preprocessing" and model.config.get(field) != built.get(field):
            raise ValueError(
                f"config[{field!r}] of {model.name!r} was set to {model.config.get(field)!r} after the model was built "
                f"with {built.get(field)!r}, which does not change the model; set it back, or make the model anew."
            )


def _check_arguments(architecture: type[ConfiguredModel], config: Mapping[str, Any]) -> None:
    """Refuses a subclass with arguments of its own that its `get_config` says nothing about."""
    family = list(itertools.takewhile(lambda each: not _is_ours(each), architecture.__mro__))
    if any("get_config" in vars(each) for each in family):
        return
    ours = architecture.__mro__[len(family)]
    known = {*inspect.signature(ours).parameters, *config}
    for name, parameter in inspect.signature(architecture).parameters.items():
        if name not in known and parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            raise ValueError(
                f"{architecture.__name__} takes {name}, which its get_config does not return; give it one that returns "
                f'{{**super().get_config(), "{name}": …}}.'
            )


def _is_ours(architecture: type) -> bool:
    return keras.saving.get_registered_name(architecture).startswith("keras_nest>")


class ImageModel(ClassifierCompile, ConfiguredModel):
    """A functional Keras model that knows its configuration and names its intermediates.

    Attributes:
        endpoints: every named intermediate as a symbolic tensor, so that `keras.Model(model.input,
            model.endpoints["level_2"])` computes it. Keys are Flax module paths, and the common names stem,
            level_1 … level_n (maps (B, H, W, C) before pooling, without final norm), features (the normalised last
            map), pre_logits (what the head sees, mostly (B, C)), logits and, with `classifier_activation`,
            probabilities.
        config: the arguments that built the model.
        HEAD: names of the layers that belong to the classifier.
        NECK: names of optional layers between pooling and head, which a head is worth nothing without.
        FIXED_BY_IMAGE_SIZE: names of layers whose weights no other number of patches fits.
        omitted: modules (Flax paths) of the full architecture that this model lacks, and whose checkpoint tensors it
            skips.

    Args:
        inputs: symbolic images (B, H, W, channels).
        endpoints: see above.
        config: arguments of the subclass, as `get_config` returns them.
        pyramid: maps (B, H, W, C) to output instead of probabilities, logits or embedding.
        omitted: see above; the head need not be named.
        name: name of the model; "+" becomes "_", since TensorFlow allows no other in a scope.

    Raises:
        ValueError: the configuration has a `classifier_activation`, but there is no head; or its `preprocessing` is no
            specification.
    """

    _warned_of_range = False
    HEAD: ClassVar[tuple[str, ...]] = ("Dense_0",)
    NECK: ClassVar[tuple[str, ...]] = ()
    FIXED_BY_IMAGE_SIZE: ClassVar[tuple[str, ...]] = ()

    def __init__(
        self,
        inputs: keras.KerasTensor,
        endpoints: dict[str, keras.KerasTensor],
        config: Mapping[str, Any],
        pyramid: dict[str, keras.KerasTensor] | None = None,
        omitted: Sequence[str] = (),
        name: str | None = None,
    ) -> None:
        if config.get("classifier_activation") and "logits" not in endpoints:
            raise ValueError(
                f"classifier_activation is {config['classifier_activation']!r}, but the model has no head to activate; "
                "leave it out, or ask for num_classes (and not for features_only)."
            )
        if config.get("preprocessing"):
            specs.PreprocessingSpec.from_dict(config["preprocessing"])
        outputs = pyramid or next((endpoints[name] for name in _OUTPUTS if name in endpoints), None)
        super().__init__(inputs, outputs, config, name and name.replace("+", "_"))
        self.endpoints = endpoints
        preprocessing_of_input.update(dict.fromkeys(self.inputs, self.config.get("preprocessing")))
        self.omitted = tuple(omitted) if "logits" in endpoints else (*omitted, *self.HEAD)

    @property
    def classifier_activation(self) -> str | None:
        """What the output is of the logits: None (themselves), or their "softmax" or "sigmoid"."""
        return self.config.get("classifier_activation")

    def check_inputs(self, inputs: Any) -> None:
        """Refuses images that are no floats, and warns once of values far outside the range of normalised ones.

        Raises:
            ValueError: they are integers.
        """
        check_images(inputs, self.name)
        if not self._warned_of_range and self.config.get("preprocessing"):
            self._warned_of_range = warn_of_range(inputs, self.config["preprocessing"], self.name)

    @property
    def image_size(self) -> Size:
        """Height and width of the input in pixels."""
        return tuple(self.config["image_size"])

    @property
    def num_classes(self) -> int:
        """Size of the head; 0 without one."""
        return self.config["num_classes"] if "logits" in self.endpoints else 0

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
            `num_classes` (0 if there is no head) and, where the position embedding shows it, `image_size`.
        """
        head = shapes.get(f"{cls.HEAD[-1]}/kernel")
        return {"num_classes": head[-1] if head else 0}


def read_model(path: str | os.PathLike[str], trust: bool = False) -> Any:
    """Reads a .keras file of this package; `keras_nest.open_model` reads all that a training leaves, and names.

    Args:
        path: local, or an address that TensorFlow reads.
        trust: also read a file that carries code, see `HubLayer`.

    Returns:
        A model of images, a `LiT` or one of its towers, or a `NesTGenerator`.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is damaged, holds another model, or carries code; nothing was built then.
    """
    return read_keras_file(path, ConfiguredModel, trust)


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


def classifier_endpoints(
    features: keras.KerasTensor,
    num_classes: int,
    policy: keras.DTypePolicy,
    activation: str | None = None,
    **head: Any,
) -> dict[str, keras.KerasTensor]:
    """Global average pooling and the head.

    Args:
        features: normalised last map (B, H, W, C).
        num_classes: size of the head; 0 leaves it out.
        policy: of the body; under mixed precision the pooling and the head stay in float32.
        activation: as `head_endpoints` takes it.
        **head: arguments of the head, `keras.layers.Dense`.

    Returns:
        Endpoints `features`, `pre_logits` (B, C) and, with a head, those of `head_endpoints`.
    """
    pooled = keras.layers.GlobalAveragePooling2D(name="pre_logits", dtype=policy.variable_dtype)(features)
    endpoints = {"features": features, "pre_logits": pooled}
    return endpoints | head_endpoints(pooled, num_classes, policy, activation, **head)


def head_endpoints(
    pooled: keras.KerasTensor, num_classes: int, policy: keras.DTypePolicy, activation: str | None = None, **head: Any
) -> dict[str, keras.KerasTensor]:
    """The head, and what makes probabilities of its logits.

    Args:
        pooled: what it sees, (…, C).
        num_classes: its size; 0 leaves it out.
        policy: of the body; under mixed precision the head and the activation stay in float32.
        activation: "softmax", "sigmoid", or None for none.
        **head: further arguments of `keras.layers.Dense`, its name among them.

    Returns:
        Endpoint `logits` (…, num_classes), also under the layer's name, and with an activation `probabilities`; nothing
        without a head.

    Raises:
        ValueError: there is no such activation, or it is the softmax of a single class.
    """
    if not num_classes:
        return {}
    check_activation(activation, num_classes)
    layer = ClassifierHead(num_classes, dtype=policy.variable_dtype, **head)
    logits = layer(pooled)
    endpoints = {"logits": logits, layer.name: logits}
    if activation is not None:
        last = keras.layers.Activation(activation, name="probabilities", dtype=policy.variable_dtype)
        endpoints["probabilities"] = last(logits)
    return endpoints


def feature_pyramid(
    inputs: keras.KerasTensor, endpoints: Mapping[str, keras.KerasTensor]
) -> dict[str, keras.KerasTensor]:
    """Level maps, finest first, named like Keras backbones do: Pk has stride 2^k.

    Where a stride is not a power of two the names are level_1 … level_n.

    Args:
        inputs: symbolic images (B, H, W, channels).
        endpoints: of a model whose levels have strides of their own.
    """
    maps = {name: x for name, x in endpoints.items() if name.startswith("level_")}
    strides = [inputs.shape[1] / x.shape[1] for x in maps.values()]
    exponents = [math.log2(stride) for stride in strides]
    if not all(exponent.is_integer() for exponent in exponents):
        return maps
    return {f"P{int(exponent)}": x for exponent, x in zip(exponents, maps.values(), strict=True)}


def check_num_classes(num_classes: int) -> None:
    """Refuses numbers that no head has.

    Raises:
        ValueError: below 0.
    """
    if num_classes < 0:
        raise ValueError(f"num_classes is {num_classes}; it must be 0 (no head) or more.")


def check_activation(activation: str | None, num_classes: int) -> None:
    """Refuses activations that make no probabilities of so many logits.

    Raises:
        ValueError: says which do.
    """
    if activation is not None and activation not in ACTIVATIONS:
        known = ", ".join(map(repr, ACTIVATIONS))
        raise ValueError(f"classifier_activation is {activation!r}; it must be one of {known}, or None for logits.")
    if activation == "softmax" and num_classes == 1:
        raise ValueError('classifier_activation "softmax" of a single class is always 1; use "sigmoid".')


def check_feature_blocks(feature_blocks: Sequence[int] | None, depth: int) -> tuple[int, ...]:
    """The blocks whose maps are wanted, the last one by default.

    Args:
        feature_blocks: numbers of blocks, counted from 1, or None.
        depth: number of blocks there are.

    Raises:
        ValueError: there is no such block, or they are not in order.
    """
    if feature_blocks is None:
        return (depth,) if depth else ()
    numbers = tuple(feature_blocks)
    if not numbers or list(numbers) != sorted(set(numbers)) or not 1 <= numbers[0] <= numbers[-1] <= depth:
        raise ValueError(f"feature_blocks is {numbers}; it must hold rising numbers from 1 to {depth}.")
    return numbers


def check_heads(width: int, num_heads: int, width_field: str) -> None:
    """Refuses numbers of heads that do not divide the width.

    Raises:
        ValueError: says both numbers.
    """
    if width % num_heads:
        raise ValueError(f"{width_field} {width} is not a multiple of num_heads {num_heads}.")


def check_rates(config: Mapping[str, Any], fields: Sequence[str]) -> None:
    """Refuses rates outside [0, 1).

    Raises:
        ValueError: names the field.
    """
    for field in fields:
        if not 0 <= config[field] < 1:
            raise ValueError(f"{field} is {config[field]}; it must be in [0, 1).")


def square_side(tokens: int) -> int | None:
    """Side of a square of so many tokens, or None if it is none."""
    side = math.isqrt(tokens)
    return side if side * side == tokens else None


def check_image_size(image_size: Size, unit: int, reason: str) -> None:
    """Refuses sizes that the block hierarchy does not divide.

    Args:
        image_size: height and width in pixels.
        unit: number of pixels that both must be a multiple of.
        reason: why, for the message.

    Raises:
        ValueError: names the nearest sizes that fit.
    """
    if all(side % unit == 0 for side in image_size):
        return
    below = tuple(max(side // unit, 1) * unit for side in image_size)
    above = tuple(-(-side // unit) * unit for side in image_size)
    nearest = " and ".join(f"{h} x {w}" for h, w in dict.fromkeys((below, above)))
    raise ValueError(
        f"image_size {image_size[0]} x {image_size[1]} does not fit: both sides must be multiples of {unit} "
        f"({reason}); near it, {nearest} do."
    )


def resolve_policy(dtype: Any) -> keras.DTypePolicy:
    """Dtype policy from a name, a policy, or None for the global one."""
    return keras.config.dtype_policy() if dtype is None else keras.dtype_policies.get(dtype)
