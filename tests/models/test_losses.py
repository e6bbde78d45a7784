"""The loss of classifiers against Keras' own, with labels in every form; its parts: tests/test_metrics.py."""

import keras
import numpy as np
import pytest

from keras_nest.models.losses import ACTIVATIONS, LOSSES, ClassificationLoss, weigh_classes

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


@pytest.mark.parametrize("labels", [CLASSES, ONE_HOT])
@pytest.mark.parametrize("from_logits", [True, False])
def test_focal(labels, from_logits):
    outputs = LOGITS if from_logits else PROBABILITIES["softmax"]
    expected = keras.losses.CategoricalFocalCrossentropy(from_logits=True, reduction="none")(ONE_HOT, LOGITS)
    np.testing.assert_allclose(LOSSES["focal"](labels, outputs, from_logits), expected, rtol=1e-4)


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


class TestWeighedClasses:
    @pytest.mark.parametrize("name", ACTIVATIONS)
    def test_an_image_counts_as_its_class(self, name):
        outputs, labels = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32), np.array([0, 2, 2, 1])
        plain = keras.ops.convert_to_numpy(LOSSES[name](labels, outputs))
        weighed = weigh_classes(LOSSES[name], (2.0, 0.5, 1.0))
        for given in (labels, labels.astype(np.float32)):  # Keras casts labels like outputs
            np.testing.assert_allclose(weighed(given, outputs), plain * [2.0, 1.0, 1.0, 0.5], rtol=1e-6)

    def test_a_mixed_image_counts_as_the_mean_of_its_classes(self):
        outputs, labels = np.zeros((1, 3), np.float32), np.array([[0.25, 0.75, 0.0]], np.float32)
        weighed = weigh_classes(LOSSES["softmax"], (2.0, 4.0, 1.0))
        np.testing.assert_allclose(weighed(labels, outputs), [3.5 * np.log(3)], rtol=1e-6)
