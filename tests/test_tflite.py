"""One TFLite model in many threads and processes."""

import contextlib
import functools
import multiprocessing
import os
import pickle

import numpy as np
import pytest
import tensorflow as tf

from keras_nest import tflite
from keras_nest.tflite import TFLiteModel
from tests.threads import assert_same_from_threads

IMAGES = [np.random.default_rng(n).random((3, 8, 8, 3), np.float32) for n in range(6)]
QUANTIZED = {"float32": [], "dynamic_int8": [tf.lite.Optimize.DEFAULT], "int8": [tf.lite.Optimize.DEFAULT]}


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """Writes a file of a small network; precision -> path."""
    root = tmp_path_factory.mktemp("files")
    kernel = tf.random.stateless_normal((3, 3, 3, 64), (1, 2))
    head = tf.random.stateless_normal((64, 5), (3, 4))

    @tf.function(input_signature=[tf.TensorSpec((1, 8, 8, 3), name="images")])
    def serve(images):
        return {"logits": tf.reduce_mean(tf.nn.relu(tf.nn.conv2d(images, kernel, 1, "SAME")), (1, 2)) @ head}

    module = tf.Module()
    tf.saved_model.save(module, root / "module", signatures=serve)

    @functools.cache
    def write(precision):
        converter = tf.lite.TFLiteConverter.from_saved_model(str(root / "module"))
        converter.optimizations = QUANTIZED[precision]
        if precision == "int8":
            converter.representative_dataset = lambda: ([image[:1]] for image in IMAGES)
            converter.inference_input_type = converter.inference_output_type = tf.uint8
        path = root / f"{precision}.tflite"
        path.write_bytes(converter.convert())
        return path

    return write


def answer(model, images=IMAGES[0]):
    return model(images)["logits"]


@pytest.mark.parametrize("precision", QUANTIZED)
def test_many_threads_get_the_answers_of_one(file, precision):
    path = file(precision)

    def make():
        model = TFLiteModel(path)
        return lambda images: answer(model, images)

    assert_same_from_threads(make, IMAGES, repeats=1)


@pytest.mark.filterwarnings("ignore:os.fork\\(\\) was called:RuntimeWarning")  # of JAX, if another test loaded it
def test_a_process_that_was_forked_gets_the_answers_too(file):
    """Even while another thread of its parent is in the middle of a call."""
    model = TFLiteModel(file("float32"), threads=2)
    expected, processes = answer(model), multiprocessing.get_context("fork")
    answers = processes.Queue()
    with model._locks[next(iter(model._locks))]:
        child = processes.Process(target=lambda: answers.put(answer(model)))
        child.start()
    np.testing.assert_allclose(answers.get(timeout=60), expected, atol=1e-6)
    child.join(60)
    assert child.exitcode == 0


def test_pickles_for_another_process_as_its_path(file, tmp_path, monkeypatch):
    path = file("float32")
    monkeypatch.chdir(path.parent)
    packed = pickle.dumps(TFLiteModel(path.name, threads=1))
    monkeypatch.chdir(tmp_path)
    np.testing.assert_array_equal(answer(pickle.loads(packed)), answer(TFLiteModel(path, threads=1)))


def test_nothing_is_written_but_what_is_wrong(file, capfd):
    model = TFLiteModel(file("float32"))
    answer(model)
    assert capfd.readouterr() == ("", "")
    with tflite._without_notes():
        os.write(2, b"INFO: a note\nERROR: what is wrong\nno end")
    assert capfd.readouterr() == ("", "ERROR: what is wrong\nno end")
    with contextlib.suppress(RuntimeError), tflite._without_notes():
        os.write(2, b"why\n")
        raise RuntimeError
    os.write(2, b"as before\n")
    assert capfd.readouterr() == ("", "why\nas before\n")
