"""What TFLite wants otherwise than TensorFlow writes it."""

import pathlib
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.core.framework import function_pb2, node_def_pb2
from tensorflow.core.protobuf import saved_model_pb2

from keras_nest.exported import GRAPH


def rewrite(folder: str) -> None:
    """Replaces operations of a SavedModel that TFLite lacks by others that give the same numbers.

    -x becomes x * -1: TFLite has no negation in 8 bits. Keras' layer normalization negates the mean, so a full int8
    file would go back to float32 in each of them, which accelerators without floats cannot do. The gradient of a slice
    becomes what it is, padding with zeros; explanations have it.

    Args:
        folder: the SavedModel, which is changed.
    """
    file = pathlib.Path(folder, GRAPH)
    model = saved_model_pb2.SavedModel.FromString(file.read_bytes())
    for function in model.meta_graphs[0].graph_def.library.function:
        for node in list(function.node_def):
            if node.op in _REWRITES:
                _REWRITES[node.op](function, node)
    file.write_bytes(model.SerializeToString())


def _multiply(function: function_pb2.FunctionDef, negation: node_def_pb2.NodeDef) -> None:
    minus_one = _constant(function, f"{negation.name}/minus_one", -1, negation.attr["T"].type)
    negation.op = "Mul"
    negation.input.insert(1, minus_one)
    # The result was called y; of a product it is z.
    _rename(function, f"{negation.name}:y:0", f"{negation.name}:z:0")


def _pad(function: function_pb2.FunctionDef, gradient: node_def_pb2.NodeDef) -> None:
    """The gradient of x[…, begin:end, …] with respect to x: its own gradient between zeros."""
    *known, upstream = gradient.input
    shape, begin, end, strides = (_value(function, name) for name in known)
    places = np.arange(np.prod(shape)).reshape(shape)[_slices(gradient, begin, end, strides)]
    first, last = (np.array(np.unravel_index(place, shape)) for place in (places.min(), places.max()))
    if np.prod(last - first + 1) != places.size:
        raise ValueError(f"The gradient of a slice of {shape.tolist()} takes steps, which is not written as padding.")
    dtype, name = gradient.attr["T"], gradient.name
    whole = function.node_def.add(name=f"{name}/sliced", op="Reshape")
    sides = _constant(function, f"{name}/sliced_shape", last - first + 1, tf.int32.as_datatype_enum)
    whole.input.extend([upstream, sides])
    whole.attr["T"].CopyFrom(dtype)
    whole.attr["Tshape"].type = tf.int32.as_datatype_enum
    around = np.stack([first, shape - 1 - last], axis=1)
    gradient.op = "Pad"
    gradient.ClearField("attr")
    gradient.attr["T"].CopyFrom(dtype)
    gradient.attr["Tpaddings"].type = tf.int32.as_datatype_enum
    paddings = _constant(function, f"{name}/zeros_around", around, tf.int32.as_datatype_enum)
    gradient.input[:] = [f"{whole.name}:output:0", paddings]


def _slices(node: node_def_pb2.NodeDef, begin: np.ndarray, end: np.ndarray, strides: np.ndarray) -> tuple[Any, ...]:
    """What a StridedSlice takes, as Python writes it; see TensorFlow's documentation of its masks."""

    def is_set(mask: str, axis: int) -> bool:
        return bool(node.attr[f"{mask}_mask"].i >> axis & 1)

    def index(axis: int) -> Any:
        if is_set("ellipsis", axis):
            return Ellipsis
        if is_set("new_axis", axis):
            return None
        if is_set("shrink_axis", axis):
            return int(begin[axis])
        start, stop = (
            None if is_set(mask, axis) else int(ends[axis]) for mask, ends in (("begin", begin), ("end", end))
        )
        return slice(start, stop, int(strides[axis]))

    return tuple(map(index, range(len(begin))))


_REWRITES = {"Neg": _multiply, "StridedSliceGrad": _pad}


def _value(function: function_pb2.FunctionDef, tensor: str) -> np.ndarray:
    (node,) = (node for node in function.node_def if node.name == tensor.partition(":")[0])
    return tf.make_ndarray(node.attr["value"].tensor)


def _constant(function: function_pb2.FunctionDef, name: str, value: Any, dtype: int) -> str:
    """Adds a constant, and returns its output."""
    node = function.node_def.add(name=name, op="Const")
    node.attr["dtype"].type = dtype
    node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(value, dtype))
    return f"{name}:output:0"


def _rename(function: function_pb2.FunctionDef, old: str, new: str) -> None:
    for node in function.node_def:
        for index, tensor in enumerate(node.input):
            if tensor == old:
                node.input[index] = new
    for output, tensor in function.ret.items():
        if tensor == old:
            function.ret[output] = new
