"""What TFLite wants otherwise than TensorFlow writes it."""

import pathlib

import tensorflow as tf
from tensorflow.core.framework import function_pb2, node_def_pb2
from tensorflow.core.protobuf import saved_model_pb2

from keras_nest.exported import GRAPH


def replace_negation(folder: str) -> None:
    """Turns every -x of a SavedModel into x * -1, which is the same number.

    TFLite has no negation in 8 bits. Keras' layer normalization negates the mean, so a full int8 file would go back to
    float32 in each of them, which accelerators without floats cannot do.

    Args:
        folder: the SavedModel, which is changed.
    """
    file = pathlib.Path(folder, GRAPH)
    model = saved_model_pb2.SavedModel.FromString(file.read_bytes())
    for function in model.meta_graphs[0].graph_def.library.function:
        for node in list(function.node_def):
            if node.op == "Neg":
                _multiply(function, node)
    file.write_bytes(model.SerializeToString())


def _multiply(function: function_pb2.FunctionDef, negation: node_def_pb2.NodeDef) -> None:
    dtype, name = negation.attr["T"], negation.name
    factor = function.node_def.add(name=f"{name}/minus_one", op="Const")
    factor.attr["dtype"].CopyFrom(dtype)
    factor.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(-1, dtype.type))
    negation.op = "Mul"
    negation.input.insert(1, f"{factor.name}:output:0")
    # The result was called y; of a product it is z.
    old, new = f"{name}:y:0", f"{name}:z:0"
    for node in function.node_def:
        for index, tensor in enumerate(node.input):
            if tensor == old:
                node.input[index] = new
    for output, tensor in function.ret.items():
        if tensor == old:
            function.ret[output] = new
