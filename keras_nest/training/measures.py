"""What a training measures of itself, by what a model is to tell of an image."""

from typing import NamedTuple

import keras

from keras_nest.data.sources.base import DatasetInfo
from keras_nest.metrics import MeanAveragePrecision, absolute_error, accuracy, accuracy_of_classes, top5
from keras_nest.targets import MULTI_LABEL, REGRESSION
from keras_nest.training.history import COLUMNS


class Measures(NamedTuple):
    """Names of what is measured beside the loss.

    Attributes:
        quantity: of training steps, and of evaluations.
        other: of evaluations alone.
        score: which of the two says which weights are best; more is better.
        title: of the quantity, for people.
        is_share: whether the quantity is one, to be shown as percent.
    """

    quantity: str
    other: str
    score: str
    title: str
    is_share: bool = True

    @property
    def columns(self) -> tuple[str, ...]:
        """Those of the history."""
        names = {"accuracy": self.quantity, "eval_accuracy": f"eval_{self.quantity}", "eval_top5": f"eval_{self.other}"}
        return tuple(names.get(column, column) for column in COLUMNS)

    def shown(self, value: float) -> str:
        """The quantity in words."""
        return f"{value:.2%}" if self.is_share else f"{value:.4g}"


OF_CLASSES = Measures("accuracy", "top5", "accuracy", "accuracy")
_OF_TASK = {
    MULTI_LABEL: Measures("accuracy", "map", "map", "accuracy"),
    REGRESSION: Measures("mae", "r2", "r2", "mean error", is_share=False),
}


def measures_of(info: DatasetInfo) -> Measures:
    """What is measured on a data set."""
    return _OF_TASK.get(info.target.task, OF_CLASSES)


def step_metric(info: DatasetInfo) -> keras.metrics.Metric:
    """The quantity of training steps: of labels and logits, as a data set has the labels.

    The mean error of numbers is in their own unit.
    """
    if info.target.task == REGRESSION:
        _, deviation = info.scale
        return keras.metrics.MeanMetricWrapper(
            lambda labels, outputs: deviation * absolute_error(labels, outputs), name="mae"
        )
    function = accuracy_of_classes if info.target.task == MULTI_LABEL else accuracy
    return keras.metrics.MeanMetricWrapper(function, name="accuracy")


def other_metric(info: DatasetInfo) -> keras.metrics.Metric:
    """What evaluations measure beside it: "top5", "map" or "r2"."""
    if info.target.task == REGRESSION:
        return keras.metrics.R2Score(name="r2")
    if info.target.task == MULTI_LABEL:
        return MeanAveragePrecision(info.num_classes)
    return keras.metrics.MeanMetricWrapper(top5, name="top5")
