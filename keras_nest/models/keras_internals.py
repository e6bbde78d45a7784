"""What Keras keeps to itself, and the check of losses needs; the tests of this file notice when Keras changes it."""

import functools
from typing import Any

import keras


def outermost_model(layer: keras.layers.Layer) -> keras.Model | None:
    """The model whose call the present call of a layer is part of; None if a layer was called by itself."""
    entry = layer._get_call_context().entry_layer
    return entry if isinstance(entry, keras.Model) else None


def compilation(model: keras.Model) -> Any:
    """An object that a model has from one `compile` to the next."""
    return model._compile_config


def metrics_of(model: keras.Model) -> tuple[Any, Any]:
    """Metrics and weighted metrics of a compiled model, as `compile` got them; the former ones if it got none."""
    metrics = model._compile_metrics
    return (None, None) if metrics is None else (metrics._user_metrics, metrics._user_weighted_metrics)


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


def kept_short(error: ValueError) -> ValueError:
    """The error, to which neither Keras adds the layer and its arguments nor TensorFlow's AutoGraph the code."""
    error._keras_call_info_injected = error.ag_pass_through = True  # type: ignore[attr-defined]
    return error
