"""TFLite files: what the interpreter takes for granted about one is looked at first, since it crashes otherwise."""

from typing import Any

from tensorflow.lite.python import schema_py_generated as schema

_VERSION = 3


def check_tflite(content: bytes) -> None:
    """Refuses files that do not hold all parts of a network.

    Args:
        content: of the file.

    Raises:
        ValueError: it is damaged; the message goes on after the name of the file.
    """
    try:
        model = schema.ModelT.InitFromPackedBuf(content, 0)
    except Exception:  # whatever reading beside the content raises
        raise ValueError("it is damaged, or no TFLite file") from None
    parts: list[Any] = [model.subgraphs, model.operatorCodes, model.buffers]
    for graph in model.subgraphs or ():
        parts += [graph.tensors, graph.operators, graph.inputs, graph.outputs]
    if model.version != _VERSION or any(part is None or not len(part) for part in parts):
        raise ValueError("it is damaged, or no TFLite file: it lacks a part of a network")
    for graph in model.subgraphs:
        is_inside = (
            *(operator.opcodeIndex < len(model.operatorCodes) for operator in graph.operators),
            *(tensor.buffer < len(model.buffers) for tensor in graph.tensors),
        )
        if not all(is_inside):
            raise ValueError("it is damaged: its network names parts that it lacks")
