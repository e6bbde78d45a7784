"""What losses and metrics take, in every form in which `compile` gets them, and what a user is told to write."""

import functools

import keras
import pytest

from keras_nest.models.agreement import activation_of_loss, demand_of_loss, demand_of_metric
from keras_nest.models.losses import ClassificationLoss, cross_entropy, sigmoid_cross_entropy

LOSSES, METRICS = keras.losses, keras.metrics


def focal(labels, outputs, from_logits=False):
    return outputs


def own(labels, outputs):
    return outputs


class OwnLoss(keras.losses.Loss):
    def __init__(self, from_logits=False):
        super().__init__()
        self.from_logits = from_logits


class Inherited(keras.losses.CategoricalCrossentropy):
    pass


OF_PROBABILITIES = [
    *("sparse_categorical_crossentropy", "categorical_crossentropy", "binary_crossentropy", "bce", "BCE"),
    *("SparseCategoricalCrossentropy", "crossentropy", "ce", "kld", "kl_divergence", "poisson", "dice", "tversky"),
    *("binary_focal_crossentropy", "categorical_focal_crossentropy"),
    *(LOSSES.SparseCategoricalCrossentropy, LOSSES.SparseCategoricalCrossentropy(), LOSSES.BinaryCrossentropy()),
    *(LOSSES.CategoricalCrossentropy(label_smoothing=0.1), LOSSES.BinaryFocalCrossentropy()),
    *(LOSSES.CategoricalFocalCrossentropy(), LOSSES.KLDivergence(), LOSSES.Poisson(), LOSSES.Dice(), LOSSES.Tversky()),
    *(LOSSES.CategoricalGeneralizedCrossEntropy(), LOSSES.sparse_categorical_crossentropy, LOSSES.kl_divergence),
    functools.partial(LOSSES.categorical_crossentropy, label_smoothing=0.1),
    functools.partial(cross_entropy, from_logits=False),
    *(focal, OwnLoss(), Inherited(), ClassificationLoss(from_logits=False)),
]
OF_LOGITS = [
    *(LOSSES.SparseCategoricalCrossentropy(from_logits=True), LOSSES.BinaryFocalCrossentropy(from_logits=True)),
    functools.partial(LOSSES.sparse_categorical_crossentropy, from_logits=True),
    functools.partial(focal, from_logits=True),
    *(cross_entropy, sigmoid_cross_entropy, OwnLoss(True), Inherited(from_logits=True), ClassificationLoss()),
]
OF_EITHER = [
    *("mse", "mae", "huber", "log_cosh", "hinge", "squared_hinge", "categorical_hinge", "cosine_similarity", "msle"),
    *(LOSSES.MeanSquaredError(), LOSSES.CategoricalHinge(), own, lambda labels, outputs: outputs, None, "nonsense"),
]


@pytest.mark.parametrize(("takes", "losses"), [("probabilities", OF_PROBABILITIES), ("logits", OF_LOGITS)])
def test_losses_that_say_what_they_take(takes, losses):
    assert [loss for loss in losses if demand_of_loss(loss, 10).takes != takes] == []


@pytest.mark.parametrize("loss", OF_EITHER)
def test_losses_that_do_not_say_are_for_both(loss):
    assert demand_of_loss(loss, 10) is None


@pytest.mark.parametrize(
    ("loss", "instead"),
    [
        ("bce", "write keras.losses.BinaryCrossentropy(from_logits=True)"),
        ("ce", "write keras.losses.SparseCategoricalCrossentropy(from_logits=True)"),
        (LOSSES.CategoricalFocalCrossentropy, "write keras.losses.CategoricalFocalCrossentropy(from_logits=True)"),
        (LOSSES.BinaryCrossentropy(from_logits=True), "write keras.losses.BinaryCrossentropy(from_logits=False)"),
        (focal, "pass from_logits=True to it"),
        (Inherited(), "pass from_logits=True to it"),
        (cross_entropy, "pass from_logits=False to it"),
        ("kld", ""),
    ],
)
def test_what_to_write_instead(loss, instead):
    assert demand_of_loss(loss, 10).instead == instead


@pytest.mark.parametrize(
    "loss",
    [
        "sparse_categorical_crossentropy",
        LOSSES.SparseCategoricalCrossentropy(from_logits=True),
        LOSSES.CategoricalCrossentropy(),
        functools.partial(LOSSES.categorical_crossentropy, from_logits=True),
        cross_entropy,
    ],
)
def test_a_softmax_of_a_single_class_is_for_no_output(loss):
    assert demand_of_loss(loss, 1).takes.startswith("several classes")
    assert demand_of_loss("bce", 1).takes == "probabilities"


@pytest.mark.parametrize(
    ("loss", "activation"),
    [
        ("sparse_categorical_crossentropy", "softmax"),
        (LOSSES.CategoricalFocalCrossentropy(), "softmax"),
        (cross_entropy, "softmax"),
        (functools.partial(sigmoid_cross_entropy, from_logits=False), "sigmoid"),
        (LOSSES.BinaryCrossentropy(from_logits=True), "sigmoid"),
        (ClassificationLoss("sigmoid"), "sigmoid"),
        ("mae", "linear"),
        (LOSSES.Huber(), "linear"),
        (None, None),
        (["mse", "mse"], None),
        ("no such loss", None),
        (lambda labels, outputs: outputs, None),
    ],
)
def test_a_loss_tells_what_makes_scores_of_outputs(loss, activation):
    assert activation_of_loss(loss) == activation


@pytest.mark.parametrize(
    ("metric", "takes"),
    [
        ("binary_accuracy", "probabilities"),
        ("auc", "probabilities"),
        (METRICS.AUC, "probabilities"),
        (METRICS.AUC(from_logits=True), "logits"),
        (METRICS.BinaryAccuracy(threshold=0.0), "logits"),
        (METRICS.MeanMetricWrapper(METRICS.binary_accuracy, threshold=0.0), "logits"),
        (METRICS.Precision(), "probabilities"),
        (METRICS.Precision(thresholds=0), "logits"),
        (METRICS.Recall(thresholds=[0, 0.5]), "probabilities"),
        (METRICS.FalsePositives(), "probabilities"),
        (METRICS.SpecificityAtSensitivity(0.5), "probabilities"),
        (METRICS.F1Score(threshold=0.5), "probabilities"),
        (METRICS.BinaryIoU(), "probabilities"),
        ("sparse_categorical_crossentropy", "probabilities"),
        (METRICS.CategoricalCrossentropy(from_logits=True), "logits"),
        (METRICS.MeanMetricWrapper(LOSSES.binary_crossentropy), "probabilities"),
        (METRICS.KLDivergence(), "probabilities"),
        ("poisson", "probabilities"),
        (METRICS.Accuracy(), "predicted classes"),
        (METRICS.MeanIoU(num_classes=3), "predicted classes"),
    ],
    ids=str,
)
def test_metrics(metric, takes):
    assert demand_of_metric(metric, 10).takes == takes


@pytest.mark.parametrize(
    "metric",
    [
        *("accuracy", "acc", "sparse_categorical_accuracy", "top_k_categorical_accuracy", "mse", "f1_score", own),
        *(METRICS.Precision(top_k=3), METRICS.MeanIoU(num_classes=3, sparse_y_pred=False), METRICS.Hinge()),
        *(METRICS.OneHotMeanIoU(num_classes=3), METRICS.R2Score(), "nonsense"),
    ],
)
def test_metrics_for_both(metric):
    assert demand_of_metric(metric, 10) is None


def test_accuracy_of_a_single_output_is_that_of_probabilities():
    """Keras makes a binary accuracy of it, with a threshold of 0.5."""
    demand = demand_of_metric("accuracy", 1)
    assert demand == ("probabilities", "write keras.metrics.BinaryAccuracy(threshold=0.0)")
