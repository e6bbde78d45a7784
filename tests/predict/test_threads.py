"""Everything that answers, asked by many threads at once; and processes that were forked."""

import multiprocessing

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_nest
from keras_nest import explain
from keras_nest.generative.generator import create_generator
from keras_nest.predict import open_predictor, read_image
from tests.data import photographs
from tests.threads import assert_same_from_threads

PHOTOS = [np.asarray(photographs.small("chelsea", (20 + 3 * n, 30 - 2 * n))) for n in range(3)]
BATCHES = [np.random.default_rng(n).normal(size=(2, 16, 16, 3)).astype(np.float32) for n in range(3)]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["keras", "saved_model", "tflite"])
def test_predictors(files, kind):
    def make():
        predictor = open_predictor(files[kind])
        return lambda image: predictor.probabilities([image])

    assert_same_from_threads(make, PHOTOS, repeats=1)


@pytest.mark.slow
@pytest.mark.parametrize("way", ["__call__", "predict_on_batch"])
def test_keras_models(files, way):
    def make():
        model = keras.models.load_model(files["keras"])
        return lambda images: np.asarray(getattr(model, way)(images))

    assert_same_from_threads(make, BATCHES, repeats=1)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["gradcat", "attention_maps", "class_activation_map"])
def test_explanations(files, method):
    def make():
        model = keras.models.load_model(files["keras"])
        return lambda images: tf.nest.map_structure(lambda x: x.numpy(), getattr(explain, method)(model, images))

    assert_same_from_threads(make, BATCHES[:2], repeats=1)


@pytest.mark.slow
def test_modules_of_the_hub_and_preprocessing(files):
    module = keras_nest.HubLayer(files["saved_model"])
    unit = [np.random.default_rng(n).random((2, 16, 16, 3), np.float32) for n in range(3)]
    assert_same_from_threads(lambda: lambda images: module(images).numpy(), unit, repeats=1)
    layer = keras_nest.preprocessor(keras.models.load_model(files["keras"]))
    assert_same_from_threads(lambda: lambda image: layer(image).numpy(), PHOTOS, repeats=1)


@pytest.mark.slow
def test_generators_give_each_thread_the_images_of_its_seed():
    fields = {"embedding_dims": (16, 8), "num_heads": (2, 2), "num_layers_per_block": (1, 1)}
    model = create_generator(image_size=16, latent_dim=8, patch_size=2, num_classes=3, **fields)
    assert_same_from_threads(lambda: lambda seed: np.asarray(model.sample(2, seed=seed)), range(3), repeats=1)


def test_image_files(tmp_path):
    for n, photo in enumerate(PHOTOS):
        tf.io.write_file(str(tmp_path / f"{n}.jpg"), tf.io.encode_jpeg(photo))
    assert_same_from_threads(lambda: read_image, sorted(tmp_path.iterdir()), repeats=1)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:os.fork\\(\\) was called:RuntimeWarning")  # of JAX, if another test loaded it
@pytest.mark.parametrize("kind", ["keras", "saved_model"])
def test_a_process_that_was_forked_says_so_instead_of_waiting_for_ever(files, kind):
    predictor, processes = open_predictor(files[kind]), multiprocessing.get_context("fork")
    predictor.probabilities(PHOTOS[:1])
    answers = processes.Queue()

    def ask():
        for use in (lambda: predictor.probabilities(PHOTOS[:1]), lambda: open_predictor(files[kind])):
            try:
                use()
            except RuntimeError as error:
                answers.put(str(error))

    child = processes.Process(target=ask)
    child.start()
    for _ in range(2):  # asked, and opened anew
        assert "TensorFlow cannot be forked once it runs; open the model in each process" in answers.get(timeout=60)
    child.join(60)
