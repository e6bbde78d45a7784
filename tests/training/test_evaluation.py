"""Quality on test batches, against the same by hand."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_nest import VisionTransformer
from keras_nest.data.sources.base import DatasetInfo
from keras_nest.training import create_strategy
from keras_nest.training.evaluation import Evaluator, final_metrics
from keras_nest.training.strategies import distribute
from tests import keras_models


def identity_model(classes):
    """Answers with its input; its regularization, which is large, must not be in any loss."""
    inputs = keras.Input((classes,))
    layer = keras.layers.Dense(classes, use_bias=False, kernel_initializer="identity", kernel_regularizer="l2")
    return keras.Model(inputs, layer(inputs))


def classes(count):
    return DatasetInfo("images", tuple(map(str, range(count))), (8, 8, 3), 0, 0)


def batches(logits, labels, size=4):
    """As `eval_batches` gives them: all of one size, the last filled up with what has weight 0 and would be right."""
    logits, labels = np.float32(logits), np.int32(labels)
    missing = -len(labels) % size
    filling = np.eye(logits.shape[1], dtype=np.float32)[np.zeros(missing, int)]
    parts = (
        np.concatenate([logits, filling]),
        np.concatenate([labels, np.zeros(missing, np.int32)]),
        np.float32([1] * len(labels) + [0] * missing),
    )
    return tf.data.Dataset.from_tensor_slices(parts).batch(size, drop_remainder=True)


def log_softmax(logits):
    return logits - np.log(np.exp(logits).sum(1, keepdims=True))


def evaluate(logits, labels, size=4, loss="softmax"):
    evaluator = Evaluator(identity_model(np.shape(logits)[1]), loss, classes(np.shape(logits)[1]))
    return evaluator(batches(logits, labels, size)), evaluator.confusion


def test_by_hand():
    logits = np.zeros((6, 8))
    labels = [0, 1, 2, 3, 4, 5]
    logits[range(6), labels] = 3
    logits[4, :3] = 5, 6, 5  # three ahead: among the first five, not the first
    logits[5, :5] = 5, 5, 6, 5, 5  # five ahead: not among them
    measured, confusion = evaluate(logits, labels)
    assert measured["accuracy"] == pytest.approx(4 / 6)
    assert measured["top5"] == pytest.approx(5 / 6)
    assert measured["loss"] == pytest.approx(-log_softmax(logits)[range(6), labels].mean(), rel=1e-6)
    assert measured["seconds"] > 0
    expected = np.zeros((8, 8), np.int64)
    expected[labels, [0, 1, 2, 3, 1, 2]] = 1
    np.testing.assert_array_equal(confusion, expected)
    assert confusion.dtype == np.int64


def test_sigmoid_loss():
    logits, labels = np.array([[1.0, -2.0], [0.5, 3.0], [0.0, 1.0]]), np.array([0, 0, 1])
    expected = np.log1p(np.exp(np.where(np.eye(2)[labels], -logits, logits))).sum(1).mean()
    assert evaluate(logits, labels, loss="sigmoid")[0]["loss"] == pytest.approx(expected, rel=1e-6)


def test_batches_and_their_filling_do_not_change_the_result():
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(size=(23, 10)), rng.integers(0, 10, 23)
    evaluator = Evaluator(identity_model(10), "softmax", classes(10))
    results = []
    for size in (23, 5, 7):
        measured = evaluator(batches(logits, labels, size))
        results.append({name: measured[name] for name in ("accuracy", "top5", "loss")})
        assert evaluator.confusion.sum() == 23, "counts are those of the last evaluation"
        np.testing.assert_array_equal(evaluator.confusion.sum(1), np.bincount(labels, minlength=10))
        assert np.trace(evaluator.confusion) == round(23 * measured["accuracy"])
    assert results[0] == pytest.approx(results[1], rel=1e-6)
    assert results[0] == pytest.approx(results[2], rel=1e-6)


@pytest.mark.parametrize("classes", [8, 101])
def test_ties_and_answers_of_nan_are_wrong(classes):
    """With more classes than a picture shows, accuracy is measured by another metric."""
    labels = [0, 1, 2, 0, 1, 2]
    logits = np.zeros((6, classes))
    logits[3:] = np.nan
    measured, confusion = evaluate(logits, labels)
    assert measured["accuracy"] == measured["top5"] == 0
    assert np.isnan(measured["loss"])
    if classes == 8:
        assert (np.trace(confusion), confusion.sum()) == (0, 6)
    else:
        assert confusion is None


@pytest.mark.slow
def test_on_two_replicas():
    strategy = create_strategy("mirrored")
    assert strategy.num_replicas_in_sync == 2
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(size=(23, 10)), rng.integers(0, 10, 23)
    with strategy.scope():
        evaluator = Evaluator(identity_model(10), "softmax", classes(10))
    measured = evaluator(distribute(strategy, lambda host: batches(logits, labels, 6)))
    alone, confusion = evaluate(logits, labels)
    np.testing.assert_array_equal(evaluator.confusion, confusion)
    for name in ("accuracy", "top5", "loss"):
        assert measured[name] == pytest.approx(alone[name], rel=1e-6)


def test_content_of_metrics_json():
    measured = {"accuracy": 0.5, "top5": 0.75, "loss": 1.5, "seconds": 0.2}
    expected = {"top1": 0.5, "top5": 0.75, "loss": 1.5, "examples": 40, "eval_images_per_second": 200}
    assert final_metrics(measured, 40) == pytest.approx(expected)


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
def test_a_model_that_puts_out_probabilities_is_measured_by_its_logits(activation):
    fields = {"num_classes": 8, "image_size": 4, "patch_size": 2, "num_layers": None, "classifier": "gap"}
    images, labels = np.random.default_rng(0).normal(0, 9, (8, 4, 4, 3)).astype("float32"), np.arange(8)
    plain = VisionTransformer(**fields)
    keras_models.randomize(plain)
    ending = VisionTransformer(**fields, classifier_activation=activation)
    ending.set_weights(plain.get_weights())
    given = tf.data.Dataset.from_tensors((images, labels, np.ones(8, np.float32)))
    measured, same = ({**Evaluator(model, activation, classes(8))(given), "seconds": 0} for model in (plain, ending))
    assert measured == pytest.approx(same)
