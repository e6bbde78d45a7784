"""Figures of several labels and of numbers, against scikit-learn."""

import keras
import numpy as np
import pytest
from sklearn import metrics as oracle

from keras_nest.metrics import MeanAveragePrecision
from keras_nest.scores import (
    average_precision,
    best_threshold,
    figures_of_labels,
    figures_of_numbers,
    label_scores,
    mean_average_precision,
    number_score,
)


def answers(seed, images=60, classes=4, ties=False):
    """Labels and probabilities that have something to do with them."""
    generator = np.random.default_rng(seed)
    labels = generator.random((images, classes)) < (0.1, 0.3, 0.5, 0.8)[:classes]
    shares = 1 / (1 + np.exp(-generator.normal(0, 2, labels.shape) - 2 * labels))
    return labels, np.round(shares, 1) if ties else shares


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("seed", range(5))
def test_average_precision_is_that_of_scikit_learn(seed, ties):
    labels, shares = answers(seed, ties=ties)
    for has, given in zip(labels.T, shares.T, strict=True):
        assert average_precision(has, given) == pytest.approx(oracle.average_precision_score(has, given), abs=1e-12)


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("seed", range(5))
def test_no_threshold_has_a_higher_f1(seed, ties):
    labels, shares = answers(seed, ties=ties)
    for has, given in zip(labels.T, shares.T, strict=True):
        best = best_threshold(has, given)
        all_of_them = (oracle.f1_score(has, given >= threshold) for threshold in np.unique(given))
        assert oracle.f1_score(has, given >= best) == pytest.approx(max(all_of_them), abs=1e-12)


def test_figures_of_labels_are_those_of_scikit_learn():
    labels, shares = answers(3)
    thresholds = (0.3, 0.5, 0.6, 0.7)
    found = figures_of_labels(labels, shares, thresholds, "abcd")
    predicted = shares >= thresholds
    columns = oracle.precision_recall_fscore_support(labels, predicted, zero_division=0)
    for row, *expected in zip(found["classes"], *columns, strict=True):
        assert (row["precision"], row["recall"], row["f1"], row["images"]) == pytest.approx(tuple(expected))
    assert [(row["name"], row["threshold"]) for row in found["classes"]] == list(zip("abcd", thresholds, strict=True))
    assert found["map"] == pytest.approx(oracle.average_precision_score(labels, shares, average="macro"))
    assert found["macro_f1"] == pytest.approx(oracle.f1_score(labels, predicted, average="macro"))
    assert found["exact"] == pytest.approx(oracle.accuracy_score(labels, predicted))


def test_a_class_without_images_has_no_average_precision_and_counts_for_none():
    labels, shares = answers(0)
    labels[:, 1] = False
    found = figures_of_labels(labels, shares, [0.5] * 4, "abcd")
    assert found["classes"][1]["average_precision"] is None
    others = label_scores(labels[:, [0, 2, 3]], shares[:, [0, 2, 3]], [0.5] * 3)
    assert found["map"] == mean_average_precision(others)
    assert figures_of_labels(labels[:, 1:2], shares[:, 1:2], [0.5], "b")["map"] is None
    assert best_threshold(labels[:, 1], shares[:, 1]) == best_threshold(~labels[:, 1], shares[:, 1]) == 0.5


def test_numbers_are_measured_as_scikit_learn_does():
    numbers = np.random.default_rng(0).normal(100, 20, 50)
    given = numbers + np.random.default_rng(1).normal(0, 5, 50)
    score = number_score(numbers, given)
    assert score.mae == pytest.approx(oracle.mean_absolute_error(numbers, given))
    assert score.rmse == pytest.approx(oracle.root_mean_squared_error(numbers, given))
    assert score.r2 == pytest.approx(oracle.r2_score(numbers, given))
    assert figures_of_numbers(np.ones(3), np.zeros(3)) == {"mae": 1.0, "rmse": 1.0, "r2": None}


@pytest.mark.parametrize("scale", [0.2, 1.0])
def test_the_metric_gives_the_same_batch_by_batch(scale):
    labels, shares = answers(1)
    logits = scale * np.log(shares / (1 - shares))
    metric = MeanAveragePrecision(4)
    for start in range(0, 60, 20):
        part = slice(start, start + 20)
        # What only fills up has no weight.
        filled = np.concatenate([logits[part], np.full((3, 4), 9)]).astype(np.float32)
        told = np.concatenate([labels[part], np.zeros((3, 4))]).astype(np.float32)
        metric.update_state(told, filled, sample_weight=np.float32([1] * 20 + [0] * 3))
    assert float(metric.result()) == pytest.approx(oracle.average_precision_score(labels, shares), abs=2e-3)
    metric.reset_state()
    assert float(metric.result()) == 0
    assert type(metric).from_config(metric.get_config()).num_classes == 4
    assert isinstance(metric, keras.metrics.Metric)
