"""What a model answers: classes or numbers, and what makes probabilities of its outputs.

One place, so that predictions, exports and cards say the same.
"""

from typing import Any

import keras

from keras_nest.choices import ACTIVATIONS
from keras_nest.models.agreement import activation_of_loss
from keras_nest.models.base import ImageModel
from keras_nest.targets import MULTI_LABEL, REGRESSION, SINGLE_LABEL


def model_config(model: keras.Model) -> dict[str, Any]:
    """Arguments of a model of this package; empty for other models."""
    return getattr(model, "config", {})


def resolve_activation(model: keras.Model, activation: str | None = None) -> str:
    """What makes probabilities of the logits of a classifier.

    Returns:
        What is asked for; else what the model itself ends with; else "sigmoid" where it was trained to tell each class
        for itself, as it or the loss that it was compiled with says; else "softmax", or "sigmoid" of a single class,
        whose softmax is always 1.
    """
    of_task = "sigmoid" if task_of(model) == MULTI_LABEL else None
    own = activation or model_config(model).get("classifier_activation") or of_task
    if own or not is_classifier(model):
        return own or "softmax"
    of_loss = _of_loss(model)
    if of_loss in ACTIVATIONS:
        return of_loss
    return "sigmoid" if model.output.shape[-1] == 1 else "softmax"


def is_classifier(model: keras.Model) -> bool:
    """Whether what a model puts out are scores of classes: that of this package, or a user's around one.

    It is not where it was compiled with a loss of numbers, such as "mse"; but a model of this package with several
    classes is, whatever its loss.
    """
    config = model_config(model)
    if not config or not isinstance(model.output, keras.KerasTensor) or task_of(model) == REGRESSION:
        return False
    if "num_classes" in config:
        return bool(config["num_classes"])
    shape = model.output.shape
    return len(shape) == 2 and (shape[-1] > 1 or _of_loss(model) == "sigmoid")


def task_of(model: keras.Model) -> str:
    """What a model tells of an image, one of `keras_nest.choices.TASKS`, as it says itself, or its loss or end."""
    if (task := getattr(model, "task", SINGLE_LABEL)) != SINGLE_LABEL:
        return task
    config = model_config(model)
    output = model.output if config else None  # a Sequential does not tell it
    if not (isinstance(output, keras.KerasTensor) and len(output.shape) == 2) or config.get("num_classes") == 0:
        return SINGLE_LABEL
    if _is_fitted_to_numbers(model):
        return REGRESSION
    activation = getattr(model, "classifier_activation", None) or _of_loss(model)
    return MULTI_LABEL if activation == "sigmoid" and output.shape[-1] > 1 else SINGLE_LABEL


def _is_fitted_to_numbers(model: Any) -> bool:
    """Whether the loss compares what the model puts out with numbers that are no scores of classes.

    The logits of a student are compared with its teacher's, and stay logits.
    """
    if _of_loss(model) != "linear" or getattr(model, "classifier_activation", None) == "softmax":
        return False
    return not isinstance(model, ImageModel) or (model.num_classes == 1 and not model.classifier_activation)


def _of_loss(model: keras.Model) -> str | None:
    return activation_of_loss(getattr(model, "loss", None))
