"""Keras models to ONNX files."""

import os
from types import ModuleType
from typing import Any

import keras
import tensorflow as tf

from keras_nest.backends import require_tensorflow
from keras_nest.export.exporters import exporter_for
from keras_nest.export.network import TO_A_FILE
from keras_nest.export.wrapped import AUTO, Preprocessing
from keras_nest.optional import import_optional
from keras_nest.outputs import output_at
from keras_nest.places import Place, as_place

# The newest version of the operations that the converter writes.
_OPSET = 18


def to_onnx(
    model: keras.Model,
    path: str | os.PathLike[str],
    overwrite: bool = False,
    *,
    preprocessing: Preprocessing = AUTO,
) -> Place:
    """Writes an ONNX file.

    Its input is `images`, float32 (batch, H, W, C) in [0, 1] of the model's own size with any batch; its outputs are
    `logits`, `probabilities`, `embedding`, or maps under the model's own names, float32. The normalization is inside.

    Args:
        model: a built model with one image input, and one output or a dictionary of outputs.
        path: file to write, local or at an address (gs://…); it appears complete or not at all.
        overwrite: replace what lies there.
        preprocessing: as `to_saved_model` takes it.

    Returns:
        The path, as `to_saved_model` gives it.

    Raises:
        ValueError: a model that cannot be exported or converted, an address that TensorFlow does not know, or Keras
            does not run on TensorFlow.
        FileExistsError: something lies at `path` and `overwrite` is false.
        OSError: the directory cannot be written to.
        ModuleNotFoundError: tf2onnx is not installed.
    """
    require_tensorflow("export.to_onnx", TO_A_FILE.format("onnx"))
    place = as_place(path)
    exporter = exporter_for(model, preprocessing)
    exporter.check_onnx()
    converter = _tf2onnx()
    with output_at(place, overwrite) as partial:
        compute, inputs = exporter.onnx_function()
        call = tf.function(compute, input_signature=inputs, autograph=False)
        proto, _ = converter.convert.from_function(call, inputs, opset=_OPSET)
        for tensor in (*proto.graph.input, *proto.graph.output):
            tensor.type.tensor_type.shape.dim[0].dim_param = "batch"
        _check(proto, model.name)
        partial.write_bytes(proto.SerializeToString())
    return place


def _check(proto: Any, name: str) -> None:
    """Refuses a graph whose shapes do not fit together, which tf2onnx makes of some 1x1 convolutions on blocks."""
    onnx = import_optional("onnx", "ONNX files are checked by onnx", "[onnx]")
    try:
        onnx.checker.check_model(proto, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError):
        raise ValueError(
            f"The model {name!r} cannot be written as ONNX, since tf2onnx makes a graph of it that does not fit "
            "together; export it as saved_model or tflite."
        ) from None


def _tf2onnx() -> ModuleType:
    """The converter, which only this format needs."""
    return import_optional("tf2onnx", "ONNX files are written by tf2onnx", "[onnx]")
