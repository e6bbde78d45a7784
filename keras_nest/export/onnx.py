"""Keras models to ONNX files, each with a card beside it."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from keras_nest.backends import require_tensorflow
from keras_nest.export.card import onnx_card
from keras_nest.export.exporter import Exporter
from keras_nest.export.exporters import exporter_for
from keras_nest.export.inference import Inference
from keras_nest.export.network import TO_A_FILE
from keras_nest.export.onnx_facts import add_facts
from keras_nest.export.onnx_graph import CONVERTED_OPSET, OPSET, rewriters
from keras_nest.export.onnx_resize import resize_handlers
from keras_nest.export.wrapped import AUTO, Preprocessing
from keras_nest.layers.formulation import Formulation, formulated
from keras_nest.optional import import_optional
from keras_nest.outputs import output_at
from keras_nest.places import Place, as_place


def to_onnx(
    model: keras.Model,
    path: str | os.PathLike[str],
    overwrite: bool = False,
    *,
    head: str = "classifier",
    activation: str | None = None,
    input_type: str = "float32",
    class_names: Sequence[str] | None = None,
    metrics: Mapping[str, Any] | None = None,
    preprocessing: Preprocessing = AUTO,
) -> Place:
    """Writes an ONNX file, and a model card of the same name beside it, `.md`.

    Its input is `images`, float32 (batch, H, W, C) in [0, 1] of the model's own size with any batch; its outputs are
    `logits`, `probabilities`, `values`, `embedding`, or maps under the model's own names, float32. The normalization is
    inside. The operations are those of version 20 (ONNX 1.15, ONNX Runtime 1.17 and later): layer normalizations and
    GELUs are one operation each. The metadata of the file tell class names, preprocessing and license, see
    `keras_nest.export.onnx_facts.add_facts`.

    Args:
        model: a built model with one image input, and one output or a dictionary of outputs.
        path: file to write, local or at an address (gs://…); it appears complete or not at all.
        overwrite: replace what lies there.
        head: "classifier", or "none" for the model without its head, whose output is `embedding`.
        activation: "softmax" or "sigmoid" for `probabilities`; "none" for logits whatever the model ends with; None for
            what it gives.
        input_type: "float32"; or "uint8" for images as they lie in memory, (batch, h, w, C) in 0..255 of any size,
            which are resized and cropped inside as the evaluation of the model does.
        class_names: in the order of the logits; None takes the names of ImageNet for a head that was published.
        metrics: for the card, as `keras_nest.export.card.model_card` takes them.
        preprocessing: as `to_saved_model` takes it.

    Returns:
        The path, as `to_saved_model` gives it.

    Raises:
        ValueError: a model that cannot be exported or converted, an unknown option or one that means nothing to the
            model, not as many class names as classes, an address that TensorFlow does not know, or Keras does not run
            on TensorFlow.
        FileExistsError: something lies at `path` or beside it, and `overwrite` is false.
        OSError: the directory cannot be written to.
        ModuleNotFoundError: tf2onnx is not installed.
    """
    require_tensorflow("export.to_onnx", TO_A_FILE.format("onnx"))
    place = as_place(path)
    whole = exporter_for(model, preprocessing)
    whole.check_onnx(activation)
    exporter, names = whole.up_to(head), whole.labels(class_names, head)
    call, images = exporter.onnx_function(activation, input_type)
    with output_at(place, overwrite) as partial, output_at(place.with_suffix(".md"), overwrite) as card:
        proto = _convert(call, images, exporter)
        add_facts(proto, exporter.model, input_type, names)
        partial.write_bytes(proto.SerializeToString())
        card.write_text(onnx_card(whole, place.name, proto, head, input_type, names, metrics), "utf-8")
    return place


def _convert(compute: Inference, images: tf.TensorSpec, exporter: Exporter) -> Any:
    """The function as an `onnx.ModelProto` with an open batch."""
    tf2onnx = import_optional("tf2onnx", "ONNX files are written by tf2onnx", "[onnx]")
    onnx = import_optional("onnx", "ONNX files are checked by onnx", "[onnx]")
    call = tf.function(compute, input_signature=[images], autograph=False)
    # Runtimes of ONNX fuse a product of tokens as it is.
    with formulated(Formulation(rows=False)):
        proto, _ = tf2onnx.convert.from_function(
            call,
            [images],
            opset=CONVERTED_OPSET,
            custom_rewriter=rewriters(),
            custom_op_handlers=resize_handlers(),
        )
    del proto.opset_import[:]
    proto.opset_import.add(version=OPSET)
    proto.ir_version = onnx.helper.find_min_ir_version_for(proto.opset_import)
    for tensor in (*proto.graph.input, *proto.graph.output):
        tensor.type.tensor_type.shape.dim[0].dim_param = "batch"
    if images.dtype == tf.uint8:
        for name, dimension in zip(
            ("height", "width"), proto.graph.input[0].type.tensor_type.shape.dim[1:3], strict=True
        ):
            dimension.dim_param = name
    # Shapes that do not fit together are what tf2onnx makes of some 1x1 convolutions on blocks.
    try:
        onnx.checker.check_model(proto, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError):
        raise ValueError(
            f"The model {exporter.model.name!r} cannot be written as ONNX, since tf2onnx makes a graph of it that does "
            "not fit together; export it as saved_model or tflite."
        ) from None
    return proto
