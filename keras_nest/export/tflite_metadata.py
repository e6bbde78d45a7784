"""What a TFLite file says about itself: TFLITE_METADATA, and files as a zip archive behind the model.

MediaPipe, ML Kit and Android Studio read this. The package that used to write it (tflite-support) is not kept any
more; the few tables needed are written here with `flatbuffers`. In each class below the fields stand in the order of
the schema, which is all that a flatbuffer knows of a name; None is left out.

Source: `metadata_schema.fbs` (version 1.1.0) in the repository tensorflow/tflite-support.
"""

import io
import zipfile
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import flatbuffers
import numpy as np
from tensorflow.lite.python import schema_py_generated as schema
from tensorflow.lite.tools import flatbuffer_utils

from keras_nest.exported import LABELS, VALUES

# Outputs that are scores of classes.
SCORES = ("logits", "probabilities")
_MEANINGS = {
    "logits": "Scores of the classes, as logits: any real numbers, the largest for the most probable class. They are "
    "no probabilities, no embedding, and nothing to compare with a threshold between 0 and 1.",
    "probabilities": "Probabilities of the classes, in 0..1.",
    VALUES: "Numbers, in their own unit; no scores of classes.",
    "embedding": "Embedding: a vector to compare with others, no scores of classes.",
}
_METADATA_NAME, _FILE_IDENTIFIER, _PARSER_VERSION = "TFLITE_METADATA", b"M001", "1.0.0"
# Members of the schema's unions and enumerations.
_FEATURES, _IMAGE, _NORMALIZATION = np.uint8(1), np.uint8(2), np.uint8(1)
_DESCRIPTION, _AXIS_LABELS = np.uint8(1), np.uint8(2)
_COLOR_SPACES = {3: np.uint8(1), 1: np.uint8(2)}


class _Model(NamedTuple):
    name: str
    description: str
    version: str | None
    subgraphs: list["_Subgraph"]
    author: str | None
    license: str | None
    files: list["_File"] | None
    min_parser_version: str


class _Subgraph(NamedTuple):
    name: str | None
    description: str | None
    inputs: list["_Tensor"]
    outputs: list["_Tensor"]


class _Tensor(NamedTuple):
    name: str
    description: str
    dimension_names: list[str] | None = None
    content: "_Union | None" = None
    process_units: list["_Union"] | None = None
    stats: None = None
    files: list["_File"] | None = None


class _Union(NamedTuple):
    """The tables Content and ProcessUnit: which member of a union, and the member."""

    member: np.uint8
    table: tuple[Any, ...]


class _Image(NamedTuple):
    color_space: np.uint8


class _Normalization(NamedTuple):
    mean: np.ndarray
    std: np.ndarray


class _File(NamedTuple):
    name: str
    description: str
    type: np.uint8


def add_metadata(tflite: bytes, name: str, files: Mapping[str, str]) -> bytes:
    """A TFLite model with its description, and with files that belong to it.

    Args:
        tflite: a model with one signature, whose input is images in [0, 1], or token ids.
        name: of the model.
        files: texts by file name, which `zipfile` finds in the result; `LABELS` is known to all readers.

    Returns:
        The model, to be written into a file.
    """
    model = flatbuffer_utils.convert_bytearray_to_object(tflite)
    # Before TensorFlow 2.21 the constructors take no arguments.
    content, entry = schema.BufferT(), schema.MetadataT()
    content.data = _encode(_describe(model, name, files))
    entry.name, entry.buffer = _METADATA_NAME, len(model.buffers)
    model.buffers.append(content)
    model.metadata.append(entry)
    return _append_zip(flatbuffer_utils.convert_object_to_bytearray(model), files)


def describe_output(output: str) -> str:
    """What an output is, in a sentence for people and for programs that show it to them.

    Args:
        output: its name.
    """
    return _MEANINGS.get(output, "A map of intermediate features.")


def _describe(model: Any, name: str, files: Iterable[str]) -> _Model:
    """The metadata of a TFLite model in object form."""
    signature = next(each for each in model.signatureDefs if each.signatureKey == b"serving_default")
    graph = model.subgraphs[signature.subgraphIndex]
    names = {tensor.tensorIndex: tensor.name.decode() for tensor in signature.outputs}
    labels = [_File(LABELS, "Names of the classes, one a line.", _AXIS_LABELS)] if LABELS in files else None
    others = [_File(file, "Belongs to the model.", _DESCRIPTION) for file in files if file != LABELS]
    outputs = [_output(names[index], labels) for index in graph.outputs]
    if signature.inputs[0].name.decode() == "tokens":
        description, entrance = "Text tower.", _Tensor("tokens", "Token ids of texts.")
    else:
        kinds = dict.fromkeys(SCORES, "Image classifier") | {"embedding": "Image embedder"}
        kind = next((kinds[output.name] for output in outputs if output.name in kinds), "Image model")
        description = f"{kind}; the normalization of its training is inside."
        batch_size, *_, channels = (int(size) for size in graph.tensors[graph.inputs[0]].shape)
        entrance = _input(batch_size, channels)
    subgraph = _Subgraph(None, None, [entrance], outputs)
    return _Model(name, description, None, [subgraph], None, None, others, _PARSER_VERSION)


def _output(name: str, labels: list[_File] | None) -> _Tensor:
    # Without a score calibration: scores are what they are.
    return _Tensor(name, describe_output(name), content=_Union(_FEATURES, ()), files=labels if name in SCORES else None)


def _input(batch_size: int, channels: int) -> _Tensor:
    # The convention counts pixels from 0 to 255, so these take them to the [0, 1] that the model expects.
    to_unit = _Normalization(mean=np.zeros(1, np.float32), std=np.full(1, 255, np.float32))
    return _Tensor(
        "images",
        f"Images of the model's size with pixels in [0, 1]; {batch_size} at a time, no other number.",
        content=_Union(_IMAGE, _Image(_COLOR_SPACES.get(channels, np.uint8(0)))),
        process_units=[_Union(_NORMALIZATION, to_unit)],
    )


def _encode(table: _Model) -> np.ndarray:
    """The flatbuffer of the metadata, uint8 (bytes,)."""
    builder = flatbuffers.Builder(0)
    builder.Finish(_write(builder, table), file_identifier=_FILE_IDENTIFIER)
    return np.frombuffer(bytes(builder.Output()), np.uint8)


def _write(builder: flatbuffers.Builder, value: Any) -> int:
    """Writes what a table refers to, the innermost first, and returns where it lies."""
    if isinstance(value, str):
        return builder.CreateString(value)
    if isinstance(value, np.ndarray):
        return builder.CreateNumpyVector(value)
    fields = [field if isinstance(field, np.uint8) or field is None else _write(builder, field) for field in value]
    if isinstance(value, list):
        builder.StartVector(4, len(fields), 4)
        for field in reversed(fields):
            builder.PrependUOffsetTRelative(field)
        return builder.EndVector()
    builder.StartObject(len(fields))
    for slot, field in enumerate(fields):
        if isinstance(field, np.uint8):
            builder.PrependUint8Slot(slot, int(field), 0)
        elif field is not None:
            builder.PrependUOffsetTRelativeSlot(slot, field, 0)
    return builder.EndObject()


def _append_zip(model: bytes, files: Mapping[str, str]) -> bytes:
    """Readers look for the archive at the end of the file, and for the model at its beginning."""
    if not files:
        return model
    content = io.BytesIO(model)
    with zipfile.ZipFile(content, "a") as archive:
        for name, text in files.items():
            # Without a date, so that the same model gives the same file.
            archive.writestr(zipfile.ZipInfo(name), text)
    return content.getvalue()
