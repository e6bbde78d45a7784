"""Numbers of a regression: a network learns them with mean 0 and deviation 1, and its file gives them in their unit."""

from typing import Any

from keras_nest.models.base import ImageModel
from keras_nest.training.jax_machines import readable

Scale = tuple[float, float]
"""Mean and standard deviation, as `keras_nest.data.DatasetInfo.scale`."""


def in_units(model: ImageModel, scale: Scale) -> ImageModel:
    """A copy of a model that gives numbers in their own unit; the scale is in the weights of its head.

    Args:
        model: as it is trained.
        scale: of the numbers that it was trained with.
    """
    mean, deviation = scale
    copy = type(model).from_config(model.get_config())
    with readable(model.weights):
        weights = model.get_weights()
    copy.set_weights(weights)
    _scale_head(copy, deviation, mean)
    return copy


def standardize(model: ImageModel, scale: Scale) -> None:
    """Gives a model the head with which it is trained on, of one that gives numbers in their own unit."""
    mean, deviation = scale
    _scale_head(model, 1 / deviation, -mean / deviation)


def _scale_head(model: Any, factor: float, offset: float) -> None:
    head = model.get_layer(model.HEAD[-1])
    kernel, bias = head.get_weights()
    head.set_weights([kernel * factor, bias * factor + offset])
