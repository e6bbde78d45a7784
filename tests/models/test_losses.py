"""The loss of classifiers against Keras' own, with labels in every form; its parts: tests/test_metrics.py."""

import keras
import numpy as np
import pytest

from keras_nest.models.losses import ClassificationLoss

LOGITS = np.random.default_rng(0).normal(0, 3, (4, 3)).astype("float32")
CLASSES, BINARY = np.array([2, 0, 1, 2]), np.array([1, 0, 0, 1])
ONE_HOT = np.eye(3)[CLASSES]
PROBABILITIES = {"softmax": keras.ops.softmax(LOGITS), "sigmoid": keras.ops.sigmoid(LOGITS)}


@pytest.mark.parametrize("labels", [CLASSES, CLASSES[:, None], ONE_HOT, ONE_HOT.astype("int32")])
@pytest.mark.parametrize("from_logits", [True, False])
def test_softmax(labels, from_logits):
    outputs = LOGITS if from_logits else PROBABILITIES["softmax"]
    expected = keras.losses.CategoricalCrossentropy(from_logits=True)(ONE_HOT, LOGITS)
    np.testing.assert_allclose(ClassificationLoss("softmax", from_logits)(labels, outputs), expected, rtol=1e-5)


@pytest.mark.parametrize("labels", [CLASSES, CLASSES[:, None], ONE_HOT])
@pytest.mark.parametrize("from_logits", [True, False])
def test_sigmoid_is_a_mean_over_the_classes(labels, from_logits):
    outputs = LOGITS if from_logits else PROBABILITIES["sigmoid"]
    expected = keras.losses.BinaryCrossentropy(from_logits=True)(ONE_HOT, LOGITS)
    np.testing.assert_allclose(ClassificationLoss("sigmoid", from_logits)(labels, outputs), expected, rtol=1e-5)


@pytest.mark.parametrize("labels", [BINARY, BINARY[:, None], BINARY.astype(bool)])
def test_a_single_output(labels):
    expected = keras.losses.BinaryCrossentropy(from_logits=True)(BINARY[:, None], LOGITS[:, :1])
    np.testing.assert_allclose(ClassificationLoss("sigmoid")(labels, LOGITS[:, :1]), expected, rtol=1e-5)


def test_weights_of_images():
    weights = np.array([1.0, 0, 2, 0])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    np.testing.assert_allclose(ClassificationLoss()(CLASSES, LOGITS, weights), loss(CLASSES, LOGITS, weights))


def test_maps_of_logits():
    maps = np.stack([LOGITS, LOGITS[::-1]])
    classes = np.stack([CLASSES, CLASSES[::-1]])
    expected = keras.losses.SparseCategoricalCrossentropy(from_logits=True)(classes, maps)
    np.testing.assert_allclose(ClassificationLoss()(classes, maps), expected, rtol=1e-6)


def test_configuration_comes_back():
    loss = ClassificationLoss("sigmoid", from_logits=False, reduction="sum")
    restored = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(loss))
    assert restored.get_config() == loss.get_config()
    assert (restored.activation, restored.from_logits, restored.reduction) == ("sigmoid", False, "sum")
