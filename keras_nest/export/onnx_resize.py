"""Resizing as ONNX has it, where tf2onnx knows no operation for TensorFlow's or writes one that few runtimes take."""

from collections.abc import Callable
from typing import Any

import numpy as np

_INT64 = 7  # of onnx.TensorProto
_MODES = {"triangle": "linear", "keyscubic": "cubic"}


def resize_handlers() -> dict[str, tuple[Callable[..., None], list[Any]]]:
    """Of `tf2onnx.convert.from_function`: `tf.image.resize`, bicubic or with antialiasing."""
    return {"ResizeBicubic": (_bicubic, []), "ScaleAndTranslate": (_antialiased, [])}


def _bicubic(graph: Any, node: Any, name: str, _: Any) -> None:
    """With half-pixel centers, as `tf.image.resize` asks for."""
    _resize(graph, node, "cubic")


def _antialiased(graph: Any, node: Any, name: str, _: Any) -> None:
    """With the scale that takes the image to its new size, and no translation."""
    _resize(graph, node, _MODES[node.get_attr_str("kernel_type")], antialias=int(node.get_attr_value("antialias")))


def _resize(graph: Any, node: Any, mode: str, **attributes: Any) -> None:
    """(B, h, w, C) to the size (2,) that is the second input.

    Meanwhile all channels of all images lie side by side, (1, B * C, h, w): ONNX Runtime moves transposes beyond the
    operation otherwise, where it has no bicubic one.
    """
    images, size = node.input[:2]
    output, shape, dtype = node.output[0], graph.get_shape(node.output[0]), graph.get_dtype(node.output[0])
    graph.remove_node(node.name)

    def make(kind: str, inputs: list[str], **options: Any) -> str:
        return graph.make_node(kind, inputs, attr=options, op_name_scope=node.name).output[0]

    def constant(name: str, *value: int) -> str:
        return graph.make_const(f"{node.name}/{name}", np.array(value, np.int64)).output[0]

    first = make("Transpose", [images], perm=[0, 3, 1, 2])
    sides, zero, two, four = make("Shape", [first]), constant("zero", 0), constant("two", 2), constant("four", 4)
    kept, before = make("Slice", [sides, zero, two]), make("Slice", [sides, two, four])
    after, planes = make("Cast", [size], to=_INT64), constant("planes", 1, -1)
    flat = make("Reshape", [first, make("Concat", [planes, before], axis=0)])
    weights = {"cubic_coeff_a": -0.5, "exclude_outside": 1} if mode == "cubic" else {}
    attributes |= {"mode": mode, "coordinate_transformation_mode": "half_pixel", **weights}
    sizes = make("Concat", [make("Slice", [make("Shape", [flat]), zero, two]), after], axis=0)
    resized = make("Resize", [flat, "", "", sizes], **attributes)
    several = make("Reshape", [resized, make("Concat", [kept, after], axis=0)])
    graph.make_node(
        "Transpose",
        [several],
        attr={"perm": [0, 2, 3, 1]},
        outputs=[output],
        shapes=[shape],
        dtypes=[dtype],
        op_name_scope=node.name,
    )
