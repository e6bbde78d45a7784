"""What a model answers follows from what it was compiled with, here and in its file."""

import keras
import pytest

import keras_nest
from keras_nest.models.answers import is_classifier, resolve_activation, task_of
from keras_nest.models.user_model import as_image_model
from keras_nest.targets import MULTI_LABEL, REGRESSION, SINGLE_LABEL
from tests.predict.conftest import SMALL

BINARY, CATEGORICAL = keras.losses.BinaryCrossentropy(from_logits=True), keras.losses.CategoricalCrossentropy(True)


def ours(classes, **fields):
    return keras_nest.create_model("nest_tiny", **{**SMALL, "num_classes": classes, **fields})


def around(classes, **options):
    return keras.Sequential([ours(0), keras.layers.Dense(classes, **options)])


CASES = [
    (ours, 3, BINARY, MULTI_LABEL, "sigmoid"),
    (ours, 3, CATEGORICAL, SINGLE_LABEL, "softmax"),
    (ours, 3, None, SINGLE_LABEL, "softmax"),
    (ours, 3, "mse", SINGLE_LABEL, "softmax"),  # a student's
    (ours, 1, BINARY, SINGLE_LABEL, "sigmoid"),
    (ours, 1, "mse", REGRESSION, None),
    (ours, 1, keras.losses.mean_absolute_error, REGRESSION, None),
    (around, 3, BINARY, MULTI_LABEL, "sigmoid"),
    (around, 3, "mse", REGRESSION, None),
    (around, 1, keras.losses.Huber(), REGRESSION, None),
    (around, 1, BINARY, SINGLE_LABEL, "sigmoid"),
    (around, 3, None, SINGLE_LABEL, "softmax"),
]


@pytest.mark.parametrize(("build", "classes", "loss", "task", "activation"), CASES)
def test_task_and_activation(build, classes, loss, task, activation, tmp_path):
    model = build(classes)
    if loss is not None:
        model.compile("sgd", loss)
    model.save(tmp_path / "model.keras")
    for found in (model, keras_nest.open_model(tmp_path / "model.keras").model):
        seen = as_image_model(found)
        assert (task_of(seen), is_classifier(seen)) == (task, activation is not None)
        assert activation is None or resolve_activation(seen) == activation


def test_what_the_model_ends_with_comes_first():
    softmax, sigmoid = (ours(3, classifier_activation=name) for name in ("softmax", "sigmoid"))
    softmax.compile(loss="mse")
    assert (task_of(softmax), resolve_activation(softmax)) == (SINGLE_LABEL, "softmax")
    assert (task_of(sigmoid), resolve_activation(sigmoid)) == (MULTI_LABEL, "sigmoid")
    ending = around(3, activation="softmax")
    ending.compile(loss="mse")
    assert is_classifier(as_image_model(ending))


def mean_of_outputs(labels, outputs):
    return keras.ops.mean(outputs)


def test_a_loss_of_one_s_own_says_nothing(tmp_path):
    model = ours(3)
    model.compile(loss=mean_of_outputs)
    model.save(tmp_path / "model.keras")
    assert keras_nest.open_model(tmp_path / "model.keras").model.loss is None
    assert task_of(model) == SINGLE_LABEL


def test_a_model_with_the_weights_answers_as_the_file_did(tmp_path):
    model = ours(3)
    model.compile("sgd", BINARY)
    model.save(tmp_path / "model.keras")
    for fields in ({}, {"image_size": 32}):
        found = keras_nest.create_model(weights=tmp_path / "model.keras", **fields)
        found.save(tmp_path / "again.keras")
        assert keras_nest.open_model(tmp_path / "again.keras").model.task == MULTI_LABEL
