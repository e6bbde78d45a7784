"""Consumers of SavedModels that know TensorFlow but not this package; run as a program by test_consumers.py.

python -I consume.py INPUTS.npz OUTPUTS.npz FOLDER…

INPUTS holds arrays images_N, float32, `files`, strings, and `labels`, integers. OUTPUTS gets FAMILY/CONSUMER/INPUT.
What loads a file as another consumer does, `hub.load` and the command line, reads the first folder only.
"""

import contextlib
import io
import pathlib
import sys
import tempfile

import numpy as np
import tensorflow as tf
import tensorflow_hub as hub
import tf_keras
from tensorflow.python.tools import saved_model_cli

STEPS = 20


def with_bad(files):
    """Files, the second of which is bad."""
    return np.insert(files, 1, b"no image")


def python_loader(folder, batches, files):
    module = tf.saved_model.load(folder)
    for key, images in batches.items():
        yield f"saved_model.load/{key}", module(images)
        yield f"signature/{key}", module.signatures["serving_default"](tf.constant(images))["logits"]
    yield "signature/files", module.signatures["serving_bytes"](tf.constant(files))["logits"]
    yield "signature/each", module.signatures["serving_bytes_each"](tf.constant(with_bad(files)))["logits"]


def hub_loader(folder, batches, files):
    module = hub.load(folder)
    for key, images in batches.items():
        yield f"hub.load/{key}", module(images)


def session_loader(folder, batches, files):
    """The loader of TensorFlow 1, whose twin in C++ is that of TF-Serving."""
    with tf.compat.v1.Session(graph=tf.Graph()) as session:
        signatures = tf.compat.v1.saved_model.load(session, ["serve"], folder).signature_def

        def run(signature, value):
            (source,) = signatures[signature].inputs.values()
            return session.run(signatures[signature].outputs["logits"].name, {source.name: value})

        for key, images in batches.items():
            yield f"session/{key}", run("serving_default", images)
        yield "session/files", run("serving_bytes", files)
        yield "session/each", run("serving_bytes_each", with_bad(files))


def command_line(folder, batches, files):
    for signature, name, key, value in (
        ("serving_default", "images", "images_7", batches["images_7"]),
        ("serving_bytes", "image_bytes", "files", files),
    ):
        with tempfile.TemporaryDirectory() as scratch:
            source = pathlib.Path(scratch, "input.npy")
            np.save(source, value)
            sys.argv = f"saved_model_cli run --dir {folder} --tag_set serve --signature_def {signature}".split()
            sys.argv += ["--inputs", f"{name}={source}", "--outdir", scratch]
            with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()):
                saved_model_cli.main()
            yield f"saved_model_cli/{key}", np.load(pathlib.Path(scratch, "logits.npy"))


def fine_tuning(folder, images, labels):
    layer = hub.KerasLayer(folder, trainable=True)
    model = tf_keras.Sequential([tf_keras.Input(images.shape[1:]), layer])
    crossentropy = tf_keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(tf_keras.optimizers.Adam(1e-2), crossentropy)
    yield "hub.KerasLayer/images_7", layer(images)
    yield "tuning/random in inference", np.abs(layer(images) - layer(images)).max()
    yield "tuning/random in training", np.abs(layer(images, training=True) - layer(images, training=True)).max()
    before, loss = [variable.numpy() for variable in layer.trainable_weights], crossentropy(labels, layer(images))
    for _ in range(STEPS):
        model.train_on_batch(images, labels)
    yield "tuning/losses", [loss, crossentropy(labels, layer(images))]
    moved = [np.any(variable.numpy() != old) for variable, old in zip(layer.trainable_weights, before, strict=True)]
    yield "tuning/moved", moved


def main():
    sys.modules["keras_nest"] = sys.modules["export"] = None  # whatever imports them fails
    inputs, outputs, *folders = sys.argv[1:]
    given = dict(np.load(inputs))
    batches = {key: value for key, value in given.items() if key.startswith("images")}
    found = {}
    for folder in folders:
        family = pathlib.Path(folder).parent.name
        once = (hub_loader, command_line) if folder == folders[0] else ()
        consumers = (
            *(consumer(folder, batches, given["files"]) for consumer in (python_loader, session_loader, *once)),
            fine_tuning(folder, given["images_7"], given["labels"]),
        )
        for consumer in consumers:
            found |= {f"{family}/{key}": np.asarray(value) for key, value in consumer}
    np.savez(outputs, **found)


if __name__ == "__main__":
    main()
