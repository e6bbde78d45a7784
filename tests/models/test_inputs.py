"""What models refuse or warn of before they compute."""

import gc
import warnings
import weakref

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_nest
from keras_nest import specs, training
from keras_nest.data import PreparedBatches
from keras_nest.models import Bert, LiT

# A patch embedding, a mean and the head: the quickest of our models.
SMALL = {"num_classes": 3, "image_size": 16, "patch_size": 8, "hidden_size": 4, "num_layers": None, "classifier": "gap"}
LEVELS = np.random.default_rng(0).integers(0, 256, (4, 16, 16, 3), np.uint8)
LABELS = np.arange(4) % 3
INTEGERS = r"Images have dtype {}; the model 'small' takes normalized floats; keras_nest\.preprocessor"
FAR = r"Images have values from 0 to 255; normalized for the model 'small' they are between -1 and 1; keras_nest\.prep"
DOORS = {
    "call": lambda model, x: model(x),
    "keyword": lambda model, x: model(inputs=x),
    "predict": lambda model, x: model.predict(x, verbose=0),
    "predict_on_batch": lambda model, x: model.predict_on_batch(x),
    "fit": lambda model, x: model.fit(x, LABELS, verbose=0),
    "evaluate": lambda model, x: model.evaluate(x, LABELS, verbose=0),
    "train_on_batch": lambda model, x: model.train_on_batch(x, LABELS),
    "test_on_batch": lambda model, x: model.test_on_batch(x, LABELS),
    "data set": lambda model, x: model.fit(batches(x), verbose=0, shuffle=False),
    "data set of images": lambda model, x: model.predict(batches(x).map(lambda x, y: x), verbose=0),
}


def batches(images):
    return tf.data.Dataset.from_tensor_slices((images, LABELS)).batch(2)


@pytest.fixture
def model():
    """One that has warned of nothing yet."""
    model = keras_nest.create_model("ViT-B_16", **SMALL)
    model = type(model)(**{**model.config, "name": "small"})
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True), run_eagerly=True)
    return model


@pytest.mark.parametrize("door", DOORS)
def test_integers_are_refused(model, door):
    with pytest.raises(ValueError, match=INTEGERS.format("uint8")) as error:
        DOORS[door](model, LEVELS)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("dtype", ["uint8", "int32", "bool"])
def test_symbolic_integers_are_refused(model, dtype):
    with pytest.raises(ValueError, match=INTEGERS.format(dtype)):
        model(keras.Input((16, 16, 3), dtype=dtype))
    with pytest.raises(ValueError, match=INTEGERS.format(dtype)):
        tf.function(model).get_concrete_function(tf.TensorSpec((1, 16, 16, 3), dtype))


@pytest.mark.parametrize("door", DOORS)
def test_levels_as_floats_are_warned_of_once(model, door):
    images = np.float32(LEVELS)
    images[0, 0, 0, :2] = 0, 255
    with pytest.warns(UserWarning, match=FAR) as record:
        DOORS[door](model, images)
    assert len(record) == 1
    DOORS[door](model, images)  # A warning would be an error.


@pytest.mark.parametrize("door", DOORS)
def test_normalized_images_pass_in_silence(model, door):
    """So does noise, and what another mean and deviation normalized."""
    images = keras_nest.preprocessor(model)(LEVELS).numpy()
    for scale in (1, 2.6):
        DOORS[door](model, scale * images)


OTHERS = {
    "mean and std": {**specs.STRETCHED, "mean": [0.5, 0.4, 0.3], "std": (0.2, 0.2, 0.2)},
    "interpolation": {**specs.STRETCHED, "interpolation": "bicubic"},
}


def prepared(spec):
    images = np.zeros((4, 16, 16, 3), np.float32)
    return PreparedBatches(batches(images), specs.PreprocessingSpec.from_dict(spec))


@pytest.mark.parametrize("what", OTHERS)
def test_a_data_set_that_was_prepared_otherwise_is_warned_of_once(model, what):
    data = prepared(OTHERS[what])
    told = what.split(" and ")[0] + rf" .*; those that the model 'small' will predict, with {what.split(' and ')[0]} "
    with pytest.warns(UserWarning, match=told + r".*preprocessing=train\.preprocessing") as record:
        model.fit(data, validation_data=data, epochs=2, verbose=0, shuffle=False)
    assert len(record) == 1
    assert record[0].filename == __file__
    with pytest.warns(UserWarning, match="std"):
        model.evaluate(prepared({**OTHERS[what], "std": [0.1]}), verbose=0)
    trainer = training.Trainer(type(model)(**model.config))
    trainer.compile("sgd")
    with pytest.warns(UserWarning, match=told.replace("small", "vit")):
        trainer.fit(data, verbose=0, shuffle=False)


@pytest.mark.parametrize(
    "fields",
    [{}, {"mean": [0.5]}, {"mean": [0.5], "std": [0.5]}, {"mean": [0.1] * 4, "std": [0.1]}, {"value_range": [0, 255]}],
    ids=str,
)
def test_one_that_was_prepared_likewise_passes_in_silence(model, fields):
    model.fit(prepared({**specs.STRETCHED, **fields}), verbose=0, shuffle=False)
    unknown = keras_nest.create_model("ViT-B_16", **SMALL, preprocessing=None)
    unknown.compile("sgd")
    unknown.fit(prepared(OTHERS["mean and std"]), verbose=0, shuffle=False)


def test_inside_another_model(model):
    inputs = keras.Input((16, 16, 3))
    outer = keras.Model(inputs, keras.layers.Dense(2)(model(inputs)))
    with pytest.warns(UserWarning, match="they are between -1 and 1"):
        outer(np.float32(LEVELS))


def test_a_model_without_preprocessing_does_not_know_its_range():
    model = keras_nest.create_model("ViT-B_16", **SMALL, preprocessing=None)
    assert model(np.float32(LEVELS)).shape == (4, 3)


def test_a_data_set_is_read_once_in_its_own_order(model):
    read = []

    def generate():
        for number in range(5):
            read.append(number)
            yield np.full((2, 16, 16, 3), number / 9, np.float32), np.zeros(2, np.int32)

    spec = tf.TensorSpec((2, 16, 16, 3)), tf.TensorSpec((2,), tf.int32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Keras' own, about the number of batches
        model.fit(tf.data.Dataset.from_generator(generate, output_signature=spec), verbose=0, shuffle=False)
    assert read == [0, 1, 2, 3, 4]


def test_tokens_must_be_integers():
    model = Bert(vocab_size=9, hidden_size=8, num_layers=1, num_heads=2, mlp_dim=8, max_len=4, name="words")
    assert model(np.ones((1, 4), np.int64)).shape == (1, 8)
    for tokens in (np.ones((1, 4), np.float32), keras.Input((4,), dtype="float32")):
        with pytest.raises(ValueError, match="Tokens have dtype float32; the model 'words' takes integers"):
            model(tokens)


def test_both_inputs_of_a_lit():
    tower = keras_nest.create_model("ViT-B_16", **{**SMALL, "num_classes": 0})
    model = LiT(tower, Bert(vocab_size=9, hidden_size=4, num_layers=1, num_heads=2, mlp_dim=8, max_len=4))
    images = np.zeros((1, *model.image_size, 3), np.float32)
    tokens = np.zeros((1, model.text_model.input_shape[1]), np.int32)
    assert set(model({"images": images, "tokens": tokens})) == {"zimg", "ztxt", "t"}
    for wrong, words in (
        ({"images": images.astype(np.uint8), "tokens": tokens}, "Images have dtype uint8"),
        ({"images": images, "tokens": tokens.astype(np.float32)}, "Tokens have dtype float32"),
    ):
        with pytest.raises(ValueError, match=words):
            model(wrong)
    with pytest.raises(ValueError, match="Images have dtype uint8"):
        model.encode_image(images.astype(np.uint8))


def test_a_data_set_that_is_watched_keeps_no_model_alive():
    """TensorFlow never lets go of Python functions inside graphs."""
    model = keras_nest.create_model("ViT-Ti_16", **SMALL)
    model.compile("sgd")
    model.fit(tf.data.Dataset.from_tensors((np.zeros((4, 16, 16, 3), np.float32), LABELS)), shuffle=False, verbose=0)
    reference = weakref.ref(model)
    del model
    gc.collect()
    assert reference() is None
