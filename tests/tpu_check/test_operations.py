"""Every operation of every train step is one that TensorFlow registers for TPUs, with the dtypes it has there."""

import json
import pathlib

import pytest
import tensorflow as tf

from tpu_check import steps

pytestmark = pytest.mark.tpu
GOLDEN = pathlib.Path(__file__).resolve().parents[1] / "golden" / "tpu_operations.json"
KNOWN = json.loads(GOLDEN.read_text())["operations"]
# What the compiler takes apart, or what only names an argument or a result, has no kernel.
WITHOUT_KERNEL = {"Placeholder", "NoOp", "Const", "PartitionedCall", "StatefulPartitionedCall"}


def missing(nodes):
    """Operations, with the dtypes of their attributes, that a TPU does not have."""
    found = set()
    for node in nodes:
        dtypes = {name: tf.dtypes.as_dtype(value.type).name for name, value in node.attr.items() if value.type}
        if node.op not in WITHOUT_KERNEL and not has_kernel(node.op, dtypes):
            found.add((node.op, *sorted(dtypes.items())))
    return found


def has_kernel(operation, dtypes):
    return any(
        all(name not in kernel or dtype in kernel[name] for name, dtype in dtypes.items())
        for kernel in KNOWN.get(operation, ())
    )


def traced(function, *arguments):
    return steps.operations(function.get_concrete_function(*arguments))


@pytest.mark.parametrize("name", steps.CASES)
def test_tpus_have_every_operation_with_static_shapes(name):
    case = steps.CASES[name]
    trainer = steps.trainer_of(case)
    batch = steps.batch_of(case, trainer)
    step = steps.step_of(trainer, batch)
    assert missing(traced(step, *batch)) == set()
    graph = step.get_concrete_function(*batch).graph
    # How axes are broadcast is computed from static shapes, and is itself a constant to the compiler.
    known = [operation for operation in graph.get_operations() if operation.type != "BroadcastGradientArgs"]
    tensors = [tensor for operation in known for tensor in operation.outputs]
    assert len(tensors) > 100
    assert [t.name for t in tensors if t.dtype != tf.resource and not t.shape.is_fully_defined()] == []


def test_what_a_tpu_lacks_is_noticed():
    images = tf.zeros((1, 8, 8, 3))
    assert missing(traced(tf.function(lambda x: tf.image.resize(x, (4, 4), "bicubic")), images))
    text = traced(tf.function(lambda x: tf.strings.as_string(x)), images)
    assert "AsString" in {entry[0] for entry in missing(text)}


def test_dtypes_count_too():
    """Sines exist for floats alone."""
    assert has_kernel("Sin", {"T": "bfloat16"})
    assert not has_kernel("Sin", {"T": "int32"})
