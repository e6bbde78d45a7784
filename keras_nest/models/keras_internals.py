"""What Keras keeps to itself, and the check of losses needs; the tests of this file notice when Keras changes it."""

import functools
from collections.abc import Mapping
from typing import Any

import keras


def outermost_model(layer: keras.layers.Layer) -> keras.Model | None:
    """The model whose call the present call of a layer is part of; None if a layer was called by itself."""
    entry = layer._get_call_context().entry_layer
    return entry if isinstance(entry, keras.Model) else None


def compile_arguments(model: keras.Model) -> Mapping[str, Any]:
    """Arguments that a compiled model was compiled with, as they were given; another object after each `compile`."""
    return model._compile_config.config


def producer(tensor: keras.KerasTensor) -> tuple[Any, int, tuple[Any, ...], dict[str, Any]]:
    """The operation that a symbolic tensor comes from, which of its outputs it is, and the arguments of that call."""
    operation, node, index = tensor._keras_history
    arguments = operation._inbound_nodes[node].arguments
    return operation, index, arguments.args, arguments.kwargs


def unwrapped(loss_or_metric: Any) -> Any:
    """The function that Keras wrapped as a loss or a metric, with its arguments bound; anything else as it is."""
    function = getattr(loss_or_metric, "fn", None) or getattr(loss_or_metric, "_fn", None)
    arguments = getattr(loss_or_metric, "_fn_kwargs", {})
    return functools.partial(function, **arguments) if callable(function) else loss_or_metric


def without_call_information(error: ValueError) -> ValueError:
    """The error, to which Keras then adds no description of the layer that was called and its arguments."""
    error._keras_call_info_injected = True  # type: ignore[attr-defined]
    return error
