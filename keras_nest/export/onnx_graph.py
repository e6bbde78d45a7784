"""Layers that ONNX has as operations of their own, put together again from the operations that TensorFlow writes.

Runtimes have fast kernels for LayerNormalization, Gelu and a matrix product of any rank, and do not find them in ten
operations each. The functions are rewriters as tf2onnx takes them: they see the graph while it still is TensorFlow's,
before layouts change. What looks otherwise is left as it is, so that the numbers are the model's in any case.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

# The first version of the operations that has Gelu, and what tf2onnx knows. What it writes means the same in both:
# between them operations only got more types, and AveragePool dilations, which are 1 unless they are given.
OPSET, CONVERTED_OPSET = 20, 18
_TANH = (0.044715, math.sqrt(2 / math.pi))


def rewriters() -> list[Callable[[Any, Any], Any]]:
    """Of `tf2onnx.convert.from_function`, in the order in which they are to run."""
    return [_rewrite(_matrix_product), _rewrite(_layer_normalization), _rewrite(_gelu)]


def _rewrite(rewrite: Callable[["_Graph", Any], None]) -> Callable[[Any, Any], Any]:
    """What tries each operation of a graph."""

    def run(graph: Any, ops: Any) -> Any:
        for node in list(ops):
            rewrite(_Graph(graph), node)
        graph.delete_unused_nodes(graph.outputs)
        return graph.get_nodes()

    return run


class _Graph:
    """A graph of tf2onnx: what is read off it, and what is replaced in it."""

    def __init__(self, graph: Any) -> None:
        self.graph = graph

    def made_by(self, tensor: str, *kinds: str) -> Any:
        """The operation that a tensor comes from, past those that pass it on; None if it is not of these kinds."""
        node = self.graph.get_node_by_output(tensor)
        while node is not None and node.type in ("Identity", "StopGradient"):
            node = self.graph.get_node_by_output(node.input[0])
        return node if node is not None and node.type in kinds else None

    def constant(self, tensor: str) -> np.ndarray | None:
        """The value of a tensor that is known."""
        node = self.made_by(tensor, "Const", "ConstV2")
        return None if node is None else node.get_tensor_value(as_list=False)

    def operands(self, node: Any, *kinds: str) -> tuple[Any, str] | None:
        """Of an operation whose order does not matter: what makes one operand, of these kinds, and the other one."""
        for one, other in (node.input, node.input[::-1]):
            if found := self.made_by(one, *kinds):
                return found, other
        return None

    def times(self, node: Any, factor: float) -> str | None:
        """What is multiplied by a number."""
        return self._beside(node, factor, "Mul")

    def plus(self, node: Any, term: float) -> str | None:
        """What a number is added to."""
        return self._beside(node, term, "Add", "AddV2")

    def _beside(self, node: Any, number: float, *kinds: str) -> str | None:
        found = self.operands(node, "Const", "ConstV2") if node is not None and node.type in kinds else None
        if found is None or not np.allclose(found[0].get_tensor_value(as_list=False), number, rtol=1e-6, atol=0):
            return None
        return found[1]

    def readers(self, node: Any, *kinds: str) -> list[Any]:
        """The operations of these kinds that read what an operation makes."""
        return [reader for reader in self.graph.find_output_consumers(node.output[0]) if reader.type in kinds]

    def array(self, name: str, value: np.ndarray) -> str:
        """A constant."""
        return self.graph.make_const(name, value).output[0]

    def replace(self, node: Any, kind: str, inputs: Sequence[str], shape: Any = None, **attributes: Any) -> None:
        """Puts an operation of ONNX in the place of the last one of those that it stands for."""
        graph, output = self.graph, node.output[0]
        made = graph.make_node(
            kind,
            list(inputs),
            attr=attributes,
            shapes=[shape or graph.get_shape(output)],
            dtypes=[graph.get_dtype(output)],
            skip_conversion=True,
            op_name_scope=node.name,
        )
        graph.replace_all_inputs(output, made.output[0])
        graph.outputs[:] = [made.output[0] if name == output else name for name in graph.outputs]


def _matrix_product(graph: _Graph, node: Any) -> None:
    """(…, C) times (C, D), which TensorFlow writes as a product of matrices between two reshapes to shapes at hand."""
    product = graph.made_by(node.input[0], "MatMul") if node.type == "Reshape" else None
    if product is None:
        return
    sides, flat = graph.made_by(node.input[1], "ConcatV2"), graph.made_by(product.input[0], "Reshape")
    if sides is None or flat is None or any(product.get_attr_value(f"transpose_{side}", False) for side in "ab"):
        return
    kept, x = graph.made_by(sides.input[0], "GatherV2"), flat.input[0]
    if kept is None:
        return
    axes, shape_of = graph.constant(kept.input[1]), graph.made_by(kept.input[0], "Shape")
    kernel, shape = graph.constant(product.input[1]), graph.graph.get_shape(x)
    if shape_of is None or shape_of.input[0] != x or kernel is None or not shape or shape[-1] != kernel.shape[0]:
        return
    if axes is not None and axes.tolist() == list(range(len(shape) - 1)):
        graph.replace(node, "MatMul", [x, product.input[1]], [*shape[:-1], kernel.shape[1]])


def _layer_normalization(graph: _Graph, root: Any) -> None:
    """Keras' layer normalization of the last axis: x * m + (beta - mean * m), m = gamma / sqrt(variance + epsilon).

    Gamma and beta are missing in the graph where they are all ones and all zeros.
    """
    if root.type != "Rsqrt" or not (moments := _moments(graph, root)):
        return
    x, mean, epsilon, size = moments
    gamma: np.ndarray | None = np.ones(size, np.float32)
    beta, scale = np.zeros(size, np.float32), root
    if len(readers := graph.readers(root, "Mul")) == 1:
        (scale,) = readers
        gamma = _vector(graph, scale, size)
    for scaled in graph.readers(scale, "Mul"):
        shift = graph.operands(scaled, "Neg")
        if shift is None or shift[0].input[0] != mean or gamma is None:
            continue
        for total in graph.readers(scaled, "AddV2"):
            last = total
            if (found := _vector(graph, total, size)) is not None:
                beta, (last, *others) = found, graph.readers(total, "AddV2")
                if others:
                    continue
            if any(_is_product(graph, tensor, x, scale.output[0]) for tensor in last.input):
                inputs = [x, graph.array(f"{last.name}/gamma", gamma), graph.array(f"{last.name}/beta", beta)]
                graph.replace(last, "LayerNormalization", inputs, axis=-1, epsilon=epsilon)


def _moments(graph: _Graph, root: Any) -> tuple[str, str, float, int] | None:
    """Of 1 / sqrt(variance + epsilon): x, its mean, epsilon, and the length of the last axis."""
    total = graph.made_by(root.input[0], "AddV2")
    found = graph.operands(total, "Mean") if total else None
    epsilon = graph.constant(found[1]) if found else None
    if found is None or epsilon is None or epsilon.size != 1:
        return None
    variance, squares = found[0], graph.made_by(found[0].input[0], "SquaredDifference")
    mean = graph.made_by(squares.input[1], "Mean") if squares else None
    if mean is None or mean.input[0] != squares.input[0]:
        return None
    x, shape = mean.input[0], graph.graph.get_shape(mean.input[0])
    for each in (mean, variance):
        axes = graph.constant(each.input[1])
        if axes is None or not shape or axes.reshape(-1).tolist() not in ([-1], [len(shape) - 1]):
            return None
    return None if shape[-1] < 1 else (x, mean.output[0], float(epsilon.reshape(-1)[0]), shape[-1])


def _vector(graph: _Graph, node: Any, size: int) -> np.ndarray | None:
    """The operand with one number for each channel."""
    values = [value for value in map(graph.constant, node.input) if value is not None and value.shape[-1:] == (size,)]
    return values[0].reshape(-1) if values and values[0].size == size else None


def _is_product(graph: _Graph, tensor: str, one: str, other: str) -> bool:
    product = graph.made_by(tensor, "Mul")
    return product is not None and sorted(product.input) == sorted([one, other])


def _gelu(graph: _Graph, node: Any) -> None:
    """GELU, x / 2 * (1 + f(x)), of the error function or the tangent that comes near it."""
    found = graph.operands(node, "Add", "AddV2") if node.type == "Mul" else None
    inner = graph.plus(found[0], 1.0) if found else None
    curve = graph.made_by(inner, "Tanh", "Erf") if inner else None
    if found is None or curve is None:
        return
    x = graph.times(graph.made_by(found[1], "Mul"), 0.5)
    argument = graph.made_by(curve.input[0], "Mul")
    if x is None:
        return
    if curve.type == "Erf" and graph.times(argument, math.sqrt(0.5)) == x:
        graph.replace(node, "Gelu", [x])
    if curve.type == "Tanh" and _is_cubic(graph, graph.times(argument, _TANH[1]), x):
        graph.replace(node, "Gelu", [x], approximate="tanh")


def _is_cubic(graph: _Graph, tensor: str | None, x: str) -> bool:
    """Whether a tensor is x + 0.044715 x³."""
    total = graph.made_by(tensor, "AddV2") if tensor else None
    if total is None or x not in total.input:
        return False
    (term,) = [name for name in total.input if name != x] or [x]
    power = graph.times(graph.made_by(term, "Mul"), _TANH[0])
    cube = graph.made_by(power, "Pow") if power else None
    exponent = graph.constant(cube.input[1]) if cube and cube.input[0] == x else None
    return exponent is not None and np.array_equal(exponent, 3)
