"""Consumers of LiT's SavedModels that know TensorFlow and TF Text but not this package; run by test_lit.py.

python -I consume_lit.py INPUTS.npz OUTPUTS.npz FOLDER…

INPUTS holds `images`, float32, `files` and `texts`, strings. OUTPUTS gets
KIND/CONSUMER/SIGNATURE/OUTPUT, where a FOLDER is KIND/1.
"""

import pathlib
import sys

import numpy as np
import openvino
import tensorflow as tf
import tensorflow_text  # noqa: F401, registers operations


def arguments(given):
    """Of each signature."""
    images, files, texts = {"images": given["images"]}, {"image_bytes": given["files"]}, {"texts": given["texts"]}
    with_images = {"serving_default": images, "encode_image": images, "zero_shot": {**images, **texts}}
    with_files = {"encode_image_bytes": files, "zero_shot_bytes": {**files, **texts}}
    calls = {**with_images, **with_files}
    return {**calls, **{f"{name}_each": inputs for name, inputs in calls.items()}, "encode_text": texts}


def python_loader(folder, calls):
    signatures = tf.saved_model.load(folder).signatures
    for name, inputs in calls.items():
        answer = signatures[name](**{key: tf.constant(value) for key, value in inputs.items()})
        yield from ((f"load/{name}/{output}", value) for output, value in answer.items() if output != "message")


def session_loader(folder, calls):
    """The loader of TensorFlow 1, whose twin in C++ is that of TF-Serving."""
    with tf.compat.v1.Session(graph=tf.Graph()) as session:
        signatures = tf.compat.v1.saved_model.load(session, ["serve"], folder).signature_def
        for name, inputs in calls.items():
            outputs = {key: tensor.name for key, tensor in signatures[name].outputs.items()}
            feeds = {signatures[name].inputs[key].name: value for key, value in inputs.items()}
            answer = session.run(outputs, feeds)
            yield from ((f"session/{name}/{output}", value) for output, value in answer.items() if output != "message")


def reader_without_strings(folder, calls):
    core = openvino.Core()
    model = core.compile_model(core.read_model(folder), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    yield "OpenVINO/serving_default/embedding", model(calls["serving_default"])["embedding"]


def main():
    sys.modules["keras_nest"] = sys.modules["export"] = None  # whatever imports them fails
    inputs, outputs, *folders = sys.argv[1:]
    calls, found = arguments(dict(np.load(inputs))), {}
    for folder in folders:
        kind = pathlib.Path(folder).parent.name
        for consume in (python_loader, session_loader, reader_without_strings):
            found |= {f"{kind}/{key}": value for key, value in consume(folder, calls)}
    np.savez(outputs, **found)


if __name__ == "__main__":
    main()
