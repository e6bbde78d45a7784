"""What losses and metrics take, logits or probabilities, and what to write where they would get the other."""

import inspect
from typing import Any, NamedTuple

import keras

from keras_nest.keras_private import unwrap
from keras_nest.models.losses import ClassificationLoss, cross_entropy, sigmoid_cross_entropy

LOGITS, PROBABILITIES, CLASSES = "logits", "probabilities", "predicted classes"
# They take probabilities and have no `from_logits`.
_OF_PROBABILITIES = (
    keras.losses.categorical_generalized_cross_entropy,
    keras.losses.dice,
    keras.losses.kl_divergence,
    keras.losses.poisson,
    keras.losses.tversky,
)
# Of a single class, a softmax is always 1 and its cross-entropy 0.
_OF_SOFTMAX = (
    keras.losses.categorical_crossentropy,
    keras.losses.categorical_focal_crossentropy,
    keras.losses.sparse_categorical_crossentropy,
    cross_entropy,
)
_OF_SIGMOID = (
    keras.losses.binary_crossentropy,
    keras.losses.binary_focal_crossentropy,
    sigmoid_cross_entropy,
)
_OF_NUMBERS = (
    keras.losses.cosine_similarity,
    keras.losses.huber,
    keras.losses.log_cosh,
    keras.losses.mean_absolute_error,
    keras.losses.mean_absolute_percentage_error,
    keras.losses.mean_squared_error,
    keras.losses.mean_squared_logarithmic_error,
)
_WITH_THRESHOLDS = (
    keras.metrics.BinaryIoU,
    keras.metrics.FalseNegatives,
    keras.metrics.FalsePositives,
    keras.metrics.Precision,
    keras.metrics.Recall,
    keras.metrics.TrueNegatives,
    keras.metrics.TruePositives,
)
_AT_THRESHOLDS_OF_THEIR_OWN = (
    keras.metrics.PrecisionAtRecall,
    keras.metrics.RecallAtPrecision,
    keras.metrics.SensitivityAtSpecificity,
    keras.metrics.SpecificityAtSensitivity,
)


class Demand(NamedTuple):
    """What a loss or metric takes.

    Attributes:
        takes: "logits", "probabilities", or else what no classifier puts out.
        instead: what to write where it gets the other; empty if it cannot be told to take that.
    """

    takes: str
    instead: str = ""


def activation_of_loss(loss: Any) -> str | None:
    """What makes of outputs what a loss compares labels with; None if the loss does not say.

    Args:
        loss: a name, object, class or function, as for `compile`.

    Returns:
        "softmax" or "sigmoid" for classes, "linear" where the outputs are numbers, as for "mse".
    """
    resolved = _resolved(loss, keras.losses)
    if isinstance(resolved, ClassificationLoss):
        return resolved.activation
    known = {"softmax": _OF_SOFTMAX, "sigmoid": _OF_SIGMOID, "linear": _OF_NUMBERS}
    return next((activation for activation, losses in known.items() if _function(resolved) in losses), None)


def demand_of_loss(loss: Any, classes: int) -> Demand | None:
    """What a loss takes; None if it does not say, like "mse" and functions without a parameter `from_logits`.

    Args:
        loss: a name, object, class or function, as for `compile`.
        classes: size of the last axis of what it would get.
    """
    if isinstance(loss, str) and loss.lower() in ("crossentropy", "ce"):
        name = "BinaryCrossentropy" if classes == 1 else "SparseCategoricalCrossentropy"
        return Demand(PROBABILITIES, f"write keras.losses.{name}(from_logits=True)")
    resolved = _resolved(loss, keras.losses)
    if classes == 1 and _function(resolved) in _OF_SOFTMAX:
        instead = "write keras.losses.BinaryCrossentropy, with from_logits=True if the output is logits"
        return Demand("several classes (of a single one it is always 0)", instead)
    return _demand(resolved, "losses")


def demand_of_metric(metric: Any, classes: int) -> Demand | None:
    """What a metric takes, likewise; Keras resolves "accuracy" by the number of classes."""
    if isinstance(metric, str) and metric.lower() in ("accuracy", "acc"):
        return _demand_of_thresholds("keras.metrics.BinaryAccuracy", "threshold", 0.5) if classes == 1 else None
    resolved = _resolved(metric, keras.metrics)
    if type(resolved) is keras.metrics.Accuracy:
        return Demand(CLASSES, 'write "accuracy"')
    if isinstance(resolved, _AT_THRESHOLDS_OF_THEIR_OWN):
        return Demand(PROBABILITIES)
    if isinstance(resolved, keras.metrics.FBetaScore):  # without a threshold it takes the largest
        return None if resolved.threshold is None else Demand(PROBABILITIES)
    if isinstance(resolved, _WITH_THRESHOLDS):
        field = "threshold" if hasattr(resolved, "threshold") else "thresholds"
        given = None if getattr(resolved, "top_k", None) else getattr(resolved, field)
        return _demand_of_thresholds(_name(resolved, "metrics"), field, given)
    if isinstance(resolved, keras.metrics.IoU):
        return Demand(CLASSES, "pass sparse_y_pred=False to it") if resolved.sparse_y_pred else None
    if _function(resolved) is keras.metrics.binary_accuracy:
        return _demand_of_thresholds("keras.metrics.BinaryAccuracy", "threshold", _argument(resolved, "threshold"))
    return _demand(resolved, "metrics")


def _resolved(given: Any, room: Any) -> Any:
    """The object or function that Keras makes of what `compile` gets; None if it makes none, which it then says."""
    try:
        return room.get(given)
    except (ValueError, TypeError):
        return None


def _demand(resolved: Any, room: str) -> Demand | None:
    """By its parameter or attribute `from_logits`."""
    if _function(resolved) in _OF_PROBABILITIES:
        return Demand(PROBABILITIES)
    from_logits = getattr(resolved, "from_logits", _argument(resolved, "from_logits"))
    if isinstance(resolved, keras.metrics.AUC):
        from_logits = resolved.get_config()["from_logits"]
    if not isinstance(from_logits, bool):
        return None
    name, argument = _name(resolved, room), f"from_logits={not from_logits}"
    instead = f"write {name}({argument})" if name.startswith("keras.") else f"pass {argument} to it"
    return Demand(LOGITS if from_logits else PROBABILITIES, instead)


def _demand_of_thresholds(name: str, field: str, thresholds: Any) -> Demand | None:
    """One between 0 and 1 is one of probabilities, and 0 by itself one of logits."""
    values = [] if thresholds is None else keras.tree.flatten(thresholds)
    if any(0 < value < 1 for value in values):
        return Demand(PROBABILITIES, f"write {name}({field}=0.0)")
    return Demand(LOGITS, f"write {name}({field}=0.5)") if values and max(values) <= 0 else None


def _function(resolved: Any) -> Any:
    """The function inside of objects of Keras and of `functools.partial`, or what was given."""
    function = unwrap(resolved)
    while hasattr(function, "func"):
        function = function.func
    return function


def _argument(resolved: Any, parameter: str) -> Any:
    """The value of a parameter of a function that is called with two arguments; None if it has none."""
    try:
        return inspect.signature(unwrap(resolved)).parameters[parameter].default
    except (TypeError, ValueError, KeyError):
        return None


def _name(resolved: Any, room: str) -> str:
    """The class of Keras that computes the same, as it is written, or the name of what is not of Keras."""
    name = getattr(resolved, "__name__", type(resolved).__name__)
    camel = "".join(part.capitalize() for part in name.split("_")) if name.islower() else name
    known = getattr(getattr(keras, room), camel, None)
    of_keras = known is not None and (type(resolved) is known or getattr(keras.losses, name, None) is resolved)
    of_keras = of_keras and known is not keras.metrics.MeanMetricWrapper
    return f"keras.{room}.{camel}" if of_keras else name
