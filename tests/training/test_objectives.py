"""Loss and accuracy, for classes and for probabilities."""

import keras
import numpy as np
import pytest

from keras_nest.training.objectives import accuracy, cross_entropy

LOGITS = np.array([[1.0, 2.0, 0.0], [3.0, 0.0, 0.0], [0.0, 0.0, 1.0]], np.float32)
CLASSES = np.array([1, 2, 2], np.int32)
MIXED = np.array([[0.3, 0.7, 0.0], [0.0, 0.4, 0.6], [0.0, 0.1, 0.9]], np.float32)


def log_softmax(logits):
    return logits - np.log(np.exp(logits).sum(1, keepdims=True))


def test_cross_entropy():
    np.testing.assert_allclose(cross_entropy(CLASSES, LOGITS), -log_softmax(LOGITS)[range(3), CLASSES], rtol=1e-6)
    np.testing.assert_allclose(cross_entropy(MIXED, LOGITS), -(MIXED * log_softmax(LOGITS)).sum(1), rtol=1e-6)
    one_hot = np.eye(3, dtype=np.float32)[CLASSES]
    np.testing.assert_allclose(cross_entropy(one_hot, LOGITS), cross_entropy(CLASSES, LOGITS), rtol=1e-6)


def test_accuracy():
    np.testing.assert_array_equal(accuracy(CLASSES, LOGITS), [1, 0, 1])
    np.testing.assert_array_equal(accuracy(MIXED, LOGITS), [1, 0, 1])


@pytest.mark.parametrize("labels", [CLASSES, MIXED])
def test_training_on_one_kind_and_evaluating_on_the_other(labels):
    model = keras.Sequential([keras.layers.Dense(3)])
    model.compile("sgd", cross_entropy, metrics=[accuracy])
    model.fit(LOGITS, labels, verbose=0)
    loss, share = model.evaluate(LOGITS, CLASSES, verbose=0)
    logits = model(LOGITS)
    assert loss == pytest.approx(float(np.mean(cross_entropy(CLASSES, logits))), rel=1e-5)
    assert share == pytest.approx(float(np.mean(accuracy(CLASSES, logits))))
