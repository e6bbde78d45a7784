"""Keras models to reusable SavedModels."""

import os
import pathlib
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import keras
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from keras_nest.export.exporter import Signatures
from keras_nest.export.exporters import exporter_for
from keras_nest.export.optimized import OptimizedCarrier, optimized_model
from keras_nest.export.wrapped import AUTO, Preprocessing
from keras_nest.exported import GRAPH, LABELS
from keras_nest.outputs import output_at
from keras_nest.places import Place, as_place


def to_saved_model(
    model: keras.Model,
    path: str | os.PathLike[str],
    overwrite: bool = False,
    *,
    class_names: Sequence[str] | None = None,
    head: str = "classifier",
    activation: str | None = None,
    vocab: str | os.PathLike[str] | None = None,
    warm_up: bool = False,
    preprocessing: Preprocessing = AUTO,
    optimize: str | None = None,
    precision: str | None = None,
) -> Place:
    """Writes a SavedModel that takes images in [0, 1]; loading it needs TensorFlow only.

    The loaded object has `__call__(images, training=False)`, `variables`, `trainable_variables` and
    `regularization_losses`, so `hub.load` and `hub.KerasLayer(trainable=True)` use it, and the signatures that
    `create_signatures` describes. Images are float32 (B, H, W, channels) of the model's own size; `serving_bytes` takes
    JPEG and PNG files of any size.

    The normalization of the model's preprocessing specification (`mean`, `std`) is part of the file; that of the model
    inside, if a user's model is around one of this package. One without a specification is taken to be trained on
    images in [0, 1] and gets them as they are. What `__call__` returns is
    float32 and depends on the model:

    * a classifier: the logits (B, num_classes), whatever its `classifier_activation`;
    * num_classes=0, or `head="none"`: the pooled vector (B, C);
    * features_only=True: a dictionary of maps (B, H, W, C) under the model's own names;
    * LiT: the embedding (B, C), of length one. Its signatures are those of `two_tower_object`, and loading it needs
      TensorFlow Text, too.

    Args:
        model: a built model with one image input and one output, or a dictionary of outputs; or a LiT.
        path: directory to write, local or at an address (gs://…); it appears complete or not at all, see
            `keras_nest.outputs`.
        overwrite: replace what lies there.
        class_names: in the order of the logits; they become the asset `labels.txt`, and outputs of `serving_bytes`.
            None takes the names of ImageNet for a head that was published, and none for others; an empty list is none.
        head: "classifier", or "none" for TF-Hub's feature vector: the model without the weights of its head.
        activation: from logits to probabilities, "softmax" or "sigmoid"; None takes the model's
            `classifier_activation`, or that of the loss it was compiled with, or else "softmax".
        vocab: vocabulary file of LiT's text tower, which the SavedModel takes in.
        warm_up: add the requests that TF-Serving answers before it takes others (package tensorflow-serving-api).
        preprocessing: of a user's model, where it cannot be told, see `keras_nest.export.wrapped.Preprocessing`.
        optimize: "cpu" writes a file for servers without an accelerator: the same numbers but for rounding, faster, for
            inference alone, and with neither `embed` nor `features`.
        precision: "bfloat16" of an optimized file: its products compute in it, about twice as fast on processors that
            multiply so (AVX512-BF16, AMX) and far slower on others. None is the model's own.

    Returns:
        The path; of an address a `keras_nest.places.Address`, a path object whose `str` is the address.

    Raises:
        ValueError: the model has several inputs, an input that is not an image of fixed size, a list of outputs, a
            normalization for another number of channels, or not as many classes as names; an unknown option, or one
            that means nothing to the model; a vocabulary that is missing or does not fit; an address that TensorFlow
            does not know.
        FileExistsError: something lies at `path` and `overwrite` is false.
        OSError: the directory cannot be written to.
        ModuleNotFoundError: tensorflow-serving-api is missing, or for LiT tensorflow-text.
    """
    place = as_place(path)
    exporter = exporter_for(optimized_model(model, optimize, precision), preprocessing)
    names = exporter.labels(class_names, head)
    with output_at(place, overwrite) as partial, _labels_asset(names) as labels:
        module, signatures = exporter.serve(head, activation, names, vocab, OptimizedCarrier() if optimize else None)
        if labels is not None:
            module.labels = labels
        if warm_up:
            from keras_nest.export.warm_up import write_requests

            write_requests(partial, exporter.model, signatures)
        # Gradients of their own, as quantized layers have, would bring variables into a file that has none.
        how = tf.saved_model.SaveOptions(experimental_custom_gradients=optimize is None)
        tf.saved_model.save(module, partial, signatures=signatures, options=how)
    return place


def read_signatures(path: str | os.PathLike[str]) -> Signatures:
    """The signatures of a SavedModel, local or at an address, without loading it.

    Returns:
        Inputs and outputs by name, each as "float32 (None, 224, 224, 3)", by the name of the signature.
    """
    content = saved_model_pb2.SavedModel.FromString((as_place(path) / GRAPH).read_bytes())
    definitions = content.meta_graphs[0].signature_def
    return {
        name: (_describe(definitions[name].inputs), _describe(definitions[name].outputs))
        for name in sorted(definitions)
        if not name.startswith("__")
    }


def _describe(tensors: Mapping[str, Any]) -> dict[str, str]:
    """Type and shape of the inputs or outputs of a signature."""
    return {
        name: f"{tf.as_dtype(tensors[name].dtype).name} {tf.TensorShape(tensors[name].tensor_shape)}"
        for name in sorted(tensors)
    }


@contextmanager
def _labels_asset(class_names: Sequence[str] | None) -> Iterator[tf.saved_model.Asset | None]:
    """A file of the names that lies there until the SavedModel has its copy."""
    if class_names is None:
        yield None
        return
    with tempfile.TemporaryDirectory() as folder:
        file = pathlib.Path(folder, LABELS)
        file.write_text("".join(f"{name}\n" for name in class_names), "utf-8")
        yield tf.saved_model.Asset(str(file))
