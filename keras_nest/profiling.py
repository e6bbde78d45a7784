"""Size and cost of a model."""

import math
from collections.abc import Iterator

import keras
import tensorflow as tf

from keras_nest.backends import require_tensorflow
from keras_nest.names import STATISTICS

# Operations that hide others in functions, where static shapes are not to be had.
_CALLS = ("PartitionedCall", "StatefulPartitionedCall", "If", "StatelessIf", "While", "StatelessWhile")


def count_parameters(model: keras.Model) -> int:
    """Number of parameters as papers count them: all weights, frozen ones too, without the statistics of batch norm.

    Args:
        model: a built model.
    """
    parameters = (weight for weight in model.weights if weight.path.rsplit("/", 1)[-1] not in STATISTICS)
    return sum(math.prod(weight.shape) for weight in parameters)


def count_macs(model: keras.Model) -> int:
    """Multiply-adds of the matrix products and convolutions for one example in inference.

    The model is traced, not run. Positions in the padding of a convolution count like any other; element-wise work,
    normalization and pooling do not count.

    Args:
        model: a built model whose input shapes are fixed but for the batch.

    Raises:
        ValueError: an input has another unknown axis, the model has loops or branches, or Keras does not run on
            TensorFlow.
    """
    require_tensorflow("count_macs", "save the model and read what keras-nest info FILE.keras says")
    if any(None in x.shape[1:] for x in model.inputs):
        shapes = ", ".join(str(tuple(x.shape)) for x in model.inputs)
        raise ValueError(f"The model {model.name!r} has inputs of shape {shapes}; only the batch may be open.")
    specs = keras.tree.map_structure(lambda x: tf.TensorSpec((1, *x.shape[1:]), x.dtype), model.input)
    traced = tf.function(lambda inputs: model(inputs, training=False), autograph=False).get_concrete_function(specs)
    return sum(_macs(operation) for operation in _operations(model, traced.graph))


def _operations(model: keras.Model, graph: tf.Graph) -> Iterator[tf.Operation]:
    for operation in graph.get_operations():
        if operation.type in _CALLS:
            raise ValueError(
                f"The model {model.name!r} contains {operation.type} ({operation.name}); the multiply-adds of a model "
                "can only be counted without loops, branches and compiled functions."
            )
        yield operation


def _macs(operation: tf.Operation) -> int:
    """Number of outputs times the number of products summed in each."""
    shapes = [x.shape.as_list() for x in operation.inputs]
    match operation.type:
        case "MatMul":
            summed = shapes[0][0 if operation.get_attr("transpose_a") else 1]
        case "BatchMatMul" | "BatchMatMulV2" | "BatchMatMulV3":
            summed = shapes[0][-2 if operation.get_attr("adj_x") else -1]
        case "Conv2D" | "Conv3D":
            summed = math.prod(shapes[1][:-1])  # with groups, the kernel holds the inputs of one group
        case "DepthwiseConv2dNative":
            summed = math.prod(shapes[1][:2])
        case "Einsum":
            return _einsum_macs(operation.get_attr("equation").decode(), shapes)
        case _:
            return 0
    return math.prod(operation.outputs[0].shape.as_list()) * summed


def _einsum_macs(equation: str, shapes: list[list[int]]) -> int:
    """Product of all distinct axes; leading "..." axes are broadcast, so the longest operand has them."""
    sizes: dict[str, int] = {}
    for term, shape in zip(equation.split("->")[0].split(","), shapes, strict=True):
        before, _, after = term.partition("...")
        names = [*before, *(f"...{i}" for i in range(len(shape) - len(before + after), 0, -1)), *after]
        for name, size in zip(names, shape, strict=True):
            sizes[name] = max(size, sizes.get(name, 1))
    return math.prod(sizes.values())
