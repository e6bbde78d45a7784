"""Static 8-bit files that are worth having: matrix products and convolutions in 8 bits, all between them in floats.

A file that computes everything in 8 bits is slower than floats on processors, since layer normalization falls into
operations that XNNPACK has no such kernels for, and softmax and GELU lose what little 8 bits leave of them. Here the
inputs of dense layers and convolutions, which take most of the time, have a scale known beforehand; XNNPACK computes
the file in one piece.

Source: ai-edge-quantizer, which has taken the place of TFLiteConverter's quantization.
"""

import contextlib
import importlib
import io
import re
import warnings
from collections.abc import Iterator, Sequence

import numpy as np
from tensorflow.lite.python import schema_py_generated as schema
from tensorflow.lite.tools import flatbuffer_utils

from keras_nest.optional import import_optional

_DENSE, _QUANTIZED = "FULLY_CONNECTED", ("FULLY_CONNECTED", "CONV_2D")


def require_quantizer() -> None:
    """Refuses where the package is missing, before minutes of work.

    Raises:
        ModuleNotFoundError: ai-edge-quantizer is not installed.
    """
    import_optional("ai_edge_quantizer", "static_int8 is written by ai-edge-quantizer", "[quantize]")


def quantize_statically(tflite: bytes, calibration: Sequence[np.ndarray]) -> bytes:
    """A float32 file with 8-bit dense layers and convolutions; inputs and outputs stay float32.

    Weights have a scale for each channel. The last dense layer, which is the head where there is one, has its input's
    scale taken from each image instead: its outputs are the answer, and the range that calibration has met would cut
    off surer ones.

    Args:
        tflite: of one signature, serving_default, with the input `images`.
        calibration: batches of inputs, from which the ranges are taken.
    """
    require_quantizer()
    quantizer = importlib.import_module("ai_edge_quantizer.quantizer").Quantizer(tflite)
    kinds = importlib.import_module("ai_edge_quantizer.qtyping").TFLOperationName
    for kind in _QUANTIZED:
        quantizer.add_static_config(".*", kinds[kind], activation_num_bits=8, weight_num_bits=8)
    if last := _last_dense(tflite):
        quantizer.add_dynamic_config(f"^{re.escape(last)}", kinds[_DENSE], num_bits=8)
    with _quietly():
        ranges = quantizer.calibrate({"serving_default": [{"images": batch} for batch in calibration]})
        return _with_weights_inside(bytes(quantizer.quantize(ranges).quantized_model))


def _last_dense(tflite: bytes) -> str | None:
    """The output of the last dense layer of a file."""
    model = flatbuffer_utils.convert_bytearray_to_object(tflite)
    graph, dense = model.subgraphs[0], schema.BuiltinOperator.FULLY_CONNECTED
    kinds = [code.builtinCode for code in model.operatorCodes]
    outputs = [operation.outputs[0] for operation in graph.operators if kinds[operation.opcodeIndex] == dense]
    return graph.tensors[outputs[-1]].name.decode() if outputs else None


def _with_weights_inside(tflite: bytes) -> bytes:
    """The same file without weights behind its end, where files may have them, and where its metadata will be."""
    model = flatbuffer_utils.convert_bytearray_to_object(tflite)
    for buffer in model.buffers:
        if buffer.offset:
            buffer.data = np.frombuffer(tflite, np.uint8, buffer.size, buffer.offset)
            buffer.offset = buffer.size = 0
    return bytes(flatbuffer_utils.convert_object_to_bytearray(model))


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Without the progress bars of the package, and the interpreter's warning that it keeps all tensors."""
    with (
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        yield
