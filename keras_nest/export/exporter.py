"""What the formats ask of a model: functions to write, what goes with them, and words for the model card."""

import os
from collections.abc import Callable, Collection, Sequence
from typing import Any, ClassVar, Self, TypeAlias

import keras
import numpy as np
import tensorflow as tf

from keras_nest.choices import HEADS, INPUT_TYPES, NO_ACTIVATION
from keras_nest.class_names import check_class_names
from keras_nest.export.activations import ACTIVATIONS
from keras_nest.export.decoding import unit_preprocessing
from keras_nest.export.inference import Inference, below_head, inference
from keras_nest.export.module import image_shape, reusable_object
from keras_nest.export.network import Carrier
from keras_nest.export.signatures import Outputs, create_signatures
from keras_nest.export.tflite_files import TFLiteSource
from keras_nest.export.tflite_sources import image_source
from keras_nest.export.wrapped import AUTO, Preprocessing, as_exported
from keras_nest.hints import did_you_mean
from keras_nest.layers.changes import layers_inside
from keras_nest.models.answers import is_classifier, resolve_activation
from keras_nest.models.base import published_class_names
from keras_nest.models.user_model import way_to_classes

Served: TypeAlias = tuple[tf.train.Checkpoint, dict[str, Callable[..., Outputs]]]
"""The object of a SavedModel, and its signatures."""
Signatures: TypeAlias = dict[str, tuple[dict[str, str], dict[str, str]]]
"""Inputs and outputs by name, each as "float32 (None, 224, 224, 3)", by the name of the signature."""

_QUANTIZATION_MODES = ("int8", "int4", "float8", "gptq", "awq")
_USE = """import tensorflow as tf

module = tf.saved_model.load(DIRECTORY)  # or hub.load; only TensorFlow is needed
{outputs} = module(images)  # float32 (B, {size}) in [0, 1]
answers = module.signatures["serving_default"](images=images)
"""


class Exporter:
    """How models of images are exported, those of this package and those of users around one.

    Other kinds of models have a subclass, see `keras_nest.export.exporters`.

    Attributes:
        model: what is exported: a user's model has got the preprocessing of the one inside, see `as_exported`.
        KIND: what a model of this kind is called in messages.
        FOREIGN_OPTIONS: options of the command line without meaning for it.
        TFLITE_FOLDERS: where its TFLite files lie, one folder for each of its `tflite_sources`.

    Args:
        model: a built model.
        preprocessing: of a user's model, where it cannot be told, see `keras_nest.export.wrapped.Preprocessing`.

    Raises:
        ValueError: the model says itself what it takes, or it cannot be told.
    """

    KIND: ClassVar[str] = "a model without texts"
    FOREIGN_OPTIONS: ClassVar[tuple[str, ...]] = ("vocab", "templates")
    TFLITE_FOLDERS: ClassVar[tuple[str, ...]] = ("",)

    def __init__(self, model: keras.Model, preprocessing: Preprocessing = AUTO) -> None:
        self.model: Any = as_exported(model, preprocessing)

    def serve(
        self,
        head: str = "classifier",
        activation: str | None = None,
        class_names: Sequence[str] | None = None,
        vocab: str | os.PathLike[str] | None = None,
        carrier: Carrier | None = None,
    ) -> Served:
        """What a SavedModel holds, and its signatures.

        Args:
            head: one of `keras_nest.choices.HEADS`.
            activation: from logits to probabilities; None as in `to_saved_model`.
            class_names: as `labels` gives them; None has none.
            vocab: vocabulary file of a text tower.
            carrier: brings the networks into the SavedModel; None is one that keeps them as they are.

        Raises:
            ValueError: an option is unknown, or means nothing to the model; or it cannot be exported.
        """
        check_option("head", head, HEADS)
        check_option("activation", resolve_activation(self.model, activation), ACTIVATIONS)
        self._check_vocab(vocab)
        carrier = carrier or Carrier()
        module = reusable_object(self.model, head, carrier)
        return module, create_signatures(module, self.model, head, activation, class_names, carrier)

    def up_to(self, head: str) -> Self:
        """The exporter of the model, or of what lies below its head.

        Args:
            head: one of `keras_nest.choices.HEADS`.

        Raises:
            ValueError: it is another, or there is no head to leave out.
        """
        check_option("head", head, HEADS)
        return self if head == "classifier" else type(self)(below_head(self.model))

    def labels(self, class_names: Sequence[str] | None, head: str = "classifier") -> tuple[str, ...] | None:
        """Class names that belong into the file: none without scores of classes.

        Args:
            class_names: in the order of the logits; None takes those of a published head, an empty list none.
            head: one of `keras_nest.choices.HEADS`.

        Raises:
            ValueError: there are not as many as classes.
        """
        class_names = known_class_names(self.model, class_names)
        if not class_names or head != "classifier" or not is_classifier(self.model):
            return None
        return check_class_names(class_names, self.model.output.shape[-1])

    def check_tflite(self, precisions: Sequence[str], activation: str | None) -> None:
        """Refuses what TFLite files of this kind of model cannot be.

        Raises:
            ValueError: says what.
        """
        _check_activation(activation)
        self.refuse_quantized(
            ("int8", "float8"), "a TFLite file", 'as it was before, with precisions=["dynamic_int8"], which is as small'
        )

    def refuse_quantized(self, modes: Collection[str], what: str, instead: str) -> None:
        """Refuses a model that Keras quantized in a way that a format does not know.

        Raises:
            ValueError: names the layer, and `instead`.
        """
        for layer in layers_inside(self.model):
            if layer.quantization_mode in modes:
                raise ValueError(
                    f"The layer {layer.name!r} of {self.model.name!r} was quantized to {layer.quantization_mode}, "
                    f"which {what} cannot hold; export the model {instead}."
                )

    def tflite_sources(
        self,
        batch_size: int,
        images: np.ndarray | None = None,
        class_names: Sequence[str] | None = None,
        activation: str | None = None,
        vocab: str | os.PathLike[str] | None = None,
    ) -> list[TFLiteSource]:
        """What TFLite files are made of, one for each of `TFLITE_FOLDERS`; arguments as `to_tflite` takes them.

        Raises:
            ValueError: images of another shape or range, not as many names as logits, or a model that cannot be
                exported.
        """
        self._check_vocab(vocab)
        names = known_class_names(self.model, class_names)
        return [image_source(self.model, batch_size, images, names or None, activation)]

    def check_onnx(self, activation: str | None = None) -> None:
        """Refuses what no ONNX file can hold.

        Args:
            activation: as `to_onnx` takes it.

        Raises:
            ValueError: says what to do instead.
        """
        _check_activation(activation)
        self.refuse_quantized(("float8",), "an ONNX file", "as it was before, or quantized to int8")

    def check_web(self, activation: str | None) -> None:
        """Refuses what no page of a classifier can be.

        Args:
            activation: from logits to probabilities; None as in `to_tflite`.

        Raises:
            ValueError: says what, and what to do instead.
        """
        check_option("activation", resolve_activation(self.model, activation), ACTIVATIONS)
        shape, output = image_shape(self.model), self.model.output
        if not isinstance(output, keras.KerasTensor) or len(output.shape) != 2 or not is_classifier(self.model):
            raise ValueError(
                f"The model {self.model.name!r} gives no classes of an image, so that a page has nothing to show; "
                f"{way_to_classes(self.model)}."
            )
        if shape[-1] not in (1, 3):
            raise ValueError(
                f"The model {self.model.name!r} takes {shape[-1]} channels; a page has gray or color images."
            )
        self.refuse_quantized(
            ("int8", "float8"), "the TFLite file of a page", 'as it was before, with precision="dynamic_int8"'
        )

    def check_keras(self) -> None:
        """Refuses models that cannot be written in layers of Keras alone.

        Raises:
            ValueError: says what to do instead.
        """
        self.refuse_quantized(_QUANTIZATION_MODES, "a file of stock layers", "as it was before")
        for layer in layers_inside(self.model):
            if getattr(layer, "lora_enabled", False):
                raise ValueError(
                    f"The layer {layer.name!r} of {self.model.name!r} has LoRA, which a file of stock layers cannot "
                    "hold; call keras_nest.merge_lora on the model first."
                )

    def onnx_function(
        self, activation: str | None = None, input_type: str = "float32"
    ) -> tuple[Inference, tf.TensorSpec]:
        """What an ONNX file computes, and its input with an open batch.

        Args:
            activation: as `to_onnx` takes it.
            input_type: one of `keras_nest.choices.INPUT_TYPES`.

        Raises:
            ValueError: it is another, or the model carries no preprocessing.
        """
        check_option("input_type", input_type, INPUT_TYPES)
        *sides, channels = image_shape(self.model)
        _, compute = inference(self.model, activation)
        if input_type == "float32":
            return compute, tf.TensorSpec((None, *sides, channels), name="images")
        prepare = unit_preprocessing(self.model)
        levels = tf.TensorSpec((None, None, None, channels), tf.uint8, name="images")
        return lambda images: compute(prepare(images)), levels

    def describe(self, head: str = "classifier") -> str:
        """What the exported model is, for the card."""
        has_head = head == "classifier" and bool(getattr(self.model, "num_classes", 0))
        return "image classifier" if has_head else "image feature vector"

    def usage(self, signatures: Signatures) -> str:
        """Lines of Python that use the exported model, for the card."""
        outputs = list(signatures["serving_default"][1])
        name = "logits" if "logits" in outputs else outputs[0] if len(outputs) == 1 else "maps"
        return _USE.format(outputs=name, size=", ".join(map(str, self.model.input_shape[1:])))

    def notes(self) -> dict[str, str]:
        """Further sections of the card, by title."""
        return {}

    def _check_vocab(self, vocab: Any) -> None:
        if vocab is not None:
            raise ValueError(f"A vocabulary is for LiT models; {self.model.name!r} reads no texts, so leave it out.")


def known_class_names(model: keras.Model, class_names: Sequence[str] | None) -> Sequence[str] | None:
    """The class names that were given, or None those of the model's head if it is a published one."""
    return published_class_names(model) if class_names is None else class_names


def _check_activation(activation: str | None) -> None:
    known = (*ACTIVATIONS, NO_ACTIVATION)
    if activation is not None and activation not in known:
        raise ValueError(f"activation is {activation!r}; {did_you_mean(activation, known)}")


def check_option(field: str, value: str, known: Collection[str]) -> None:
    """Refuses values that an option does not have.

    Raises:
        ValueError: names those that it has.
    """
    if value not in known:
        raise ValueError(f"{field} is {value!r}; it must be one of {', '.join(map(repr, known))}.")
