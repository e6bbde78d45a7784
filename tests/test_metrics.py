"""Loss, accuracy and confusion, for classes and for probabilities."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_nest.metrics import ConfusionMatrix, accuracy, calibration_error, class_scores, in_top, reliability, top5
from keras_nest.models.losses import LOSSES, cross_entropy, sigmoid_cross_entropy

LOGITS = np.array([[1.0, 2.0, 0.0], [3.0, 0.0, 0.0], [0.0, 0.0, 1.0]], np.float32)
CLASSES = np.array([1, 2, 2], np.int32)
MIXED = np.array([[0.3, 0.7, 0.0], [0.0, 0.4, 0.6], [0.0, 0.1, 0.9]], np.float32)
ONE_HOT = np.eye(3, dtype=np.float32)[CLASSES]


def log_softmax(logits):
    return logits - np.log(np.exp(logits).sum(1, keepdims=True))


def sigmoid_by_hand(labels, logits):
    logits = logits.astype(np.float64)
    return (labels * np.log1p(np.exp(-logits)) + (1 - labels) * np.log1p(np.exp(logits))).sum(1)


def test_cross_entropy():
    np.testing.assert_allclose(cross_entropy(CLASSES, LOGITS), -log_softmax(LOGITS)[range(3), CLASSES], rtol=1e-6)
    np.testing.assert_allclose(cross_entropy(MIXED, LOGITS), -(MIXED * log_softmax(LOGITS)).sum(1), rtol=1e-6)
    np.testing.assert_allclose(cross_entropy(ONE_HOT, LOGITS), cross_entropy(CLASSES, LOGITS), rtol=1e-6)


def test_sigmoid_cross_entropy_is_a_sum_over_the_classes():
    several = np.array([[1, 1, 0], [0, 0, 0], [1, 1, 1]], np.int32)
    for labels in (several.astype(np.float32), several, MIXED):
        np.testing.assert_allclose(sigmoid_cross_entropy(labels, LOGITS), sigmoid_by_hand(labels, LOGITS), rtol=1e-6)
    np.testing.assert_allclose(sigmoid_cross_entropy(CLASSES, LOGITS), sigmoid_by_hand(ONE_HOT, LOGITS), rtol=1e-6)


def test_sigmoid_cross_entropy_of_sure_answers():
    logits = np.array([[200.0, -200.0], [-200.0, 200.0]], np.float32)
    np.testing.assert_allclose(sigmoid_cross_entropy(np.array([0, 0]), logits), [0, 400], atol=1e-6)


@pytest.mark.parametrize("loss", LOSSES)
def test_losses_are_computed_in_float32(loss):
    logits = ops.cast(10 * LOGITS, "bfloat16")
    values = LOSSES[loss](CLASSES, logits)
    assert values.dtype == "float32"
    np.testing.assert_allclose(values, LOSSES[loss](CLASSES, np.asarray(ops.cast(logits, "float32"))), rtol=1e-6)


def test_accuracy():
    np.testing.assert_array_equal(accuracy(CLASSES, LOGITS), [1, 0, 1])
    np.testing.assert_array_equal(accuracy(MIXED, LOGITS), [1, 0, 1])
    halves = accuracy(CLASSES, ops.cast(LOGITS, "bfloat16"))
    assert halves.dtype == "float32"
    np.testing.assert_array_equal(halves, [1, 0, 1])


def test_top5():
    logits = np.arange(8, dtype=np.float32)[None].repeat(8, 0)
    np.testing.assert_array_equal(top5(np.arange(8), logits), [0, 0, 0, 1, 1, 1, 1, 1])
    np.testing.assert_array_equal(top5(np.eye(8, dtype=np.float32), logits), [0, 0, 0, 1, 1, 1, 1, 1])
    np.testing.assert_array_equal(top5(CLASSES, LOGITS), [1, 1, 1]), "of three classes each is among five"


@pytest.mark.parametrize(
    ("logits", "label", "places"),
    [
        ([1, 1, 0], 0, 2),  # a tie
        ([1, 1, 0], 1, 2),
        ([0, 0, 0], 0, 3),
        ([np.nan, np.nan, np.nan], 0, 4),
        ([1, np.nan, 0], 0, 2),
        ([1, np.nan, 0], 1, 4),
        ([1, np.inf, 0], 1, 1),
    ],
)
def test_ties_and_nan_are_not_the_first_place(logits, label, places):
    """`places`: from how many on the answer counts as right; with NaN for the right class it never does."""
    for count in (1, 2, 3):
        assert float(in_top(count, np.array([label]), np.array([logits], np.float32))[0]) == (count >= places)


class TestConfusionMatrix:
    LABELS = np.array([0, 0, 1, 1, 2, 2], np.int32)
    ANSWERS = np.array([0, 1, 1, 1, 0, 2], np.int32)
    COUNTS = ((1, 1, 0), (0, 2, 0), (1, 0, 1))

    def test_counts(self):
        metric = ConfusionMatrix(3)
        metric.update_state(self.LABELS[:4], np.eye(3, dtype=np.float32)[self.ANSWERS[:4]])
        metric.update_state(self.LABELS[4:], np.eye(3, dtype=np.float32)[self.ANSWERS[4:]])
        np.testing.assert_array_equal(metric.counts, self.COUNTS)
        assert float(metric.result()) == pytest.approx(4 / 6)
        metric.reset_state()
        assert float(metric.result()) == 0
        np.testing.assert_array_equal(metric.counts, np.zeros((3, 3)))

    def test_images_of_weight_0_are_not_counted(self):
        metric = ConfusionMatrix(3)
        metric.update_state(self.LABELS, np.eye(3)[self.ANSWERS], np.array([1, 1, 1, 1, 0, 0]))
        np.testing.assert_array_equal(metric.counts, [*self.COUNTS[:2], (0, 0, 0)])
        assert float(metric.result()) == pytest.approx(3 / 4)

    def test_probabilities_count_for_the_larger_share(self):
        metric = ConfusionMatrix(3)
        metric.update_state(MIXED, LOGITS)
        np.testing.assert_array_equal(metric.counts, [(0, 0, 0), (0, 1, 0), (1, 0, 1)])

    def test_it_is_the_accuracy_for_ties_and_nan_too(self):
        rng = np.random.default_rng(0)
        logits, labels = rng.integers(0, 3, (500, 4)).astype(np.float32), rng.integers(0, 4, 500)
        logits[rng.random(logits.shape) < 0.05] = np.nan
        logits[:9] = np.nan
        metric = ConfusionMatrix(4)
        metric.update_state(labels, logits)
        assert float(metric.result()) == pytest.approx(float(np.mean(accuracy(labels, logits))))
        np.testing.assert_array_equal(np.sum(metric.counts, 1), np.bincount(labels))

    def test_configuration(self):
        again = ConfusionMatrix.from_config(ConfusionMatrix(3, name="confusion").get_config())
        assert (again.num_classes, again.name) == (3, "confusion")


@pytest.mark.parametrize("labels", [CLASSES, MIXED])
def test_training_on_one_kind_and_evaluating_on_the_other(labels):
    model = keras.Sequential([keras.layers.Dense(3)])
    model.compile("sgd", cross_entropy, metrics=[accuracy])
    model.fit(LOGITS, labels, verbose=0)
    loss, share = model.evaluate(LOGITS, CLASSES, verbose=0)
    logits = model(LOGITS)
    assert loss == pytest.approx(float(np.mean(cross_entropy(CLASSES, logits))), rel=1e-5)
    assert share == pytest.approx(float(np.mean(accuracy(CLASSES, logits))))


def test_scores_of_classes():
    """Of a class without images, and of one that nothing is taken for, there is 0 and no warning."""
    confusion = np.array([[6, 2, 0, 0], [1, 1, 0, 0], [2, 0, 0, 0], [0, 0, 0, 0]])
    scores = class_scores(confusion)
    assert [score.images for score in scores] == [8, 2, 2, 0]
    np.testing.assert_allclose([score.precision for score in scores], [6 / 9, 1 / 3, 0, 0])
    np.testing.assert_allclose([score.recall for score in scores], [6 / 8, 1 / 2, 0, 0])
    np.testing.assert_allclose([score.f1 for score in scores], [12 / 17, 2 / 5, 0, 0])


def test_reliability():
    """0, the edges and 1 lie in the bins of Guo et al., (low, high]."""
    bins = reliability(np.array([0.0, 0.5, 0.51, 0.9, 1.0]), np.array([False, True, True, False, True]), bins=2)
    assert [(each.low, each.high, each.images) for each in bins] == [(0, 0.5, 2), (0.5, 1, 3)]
    assert [each.confidence for each in bins] == pytest.approx([0.25, 2.41 / 3])
    assert [each.accuracy for each in bins] == pytest.approx([1 / 2, 2 / 3])
    assert calibration_error(bins) == pytest.approx((2 * 0.25 + abs(2.41 - 2)) / 5)
    assert calibration_error(reliability(np.array([]), np.array([]))) == 0
