"""Checkpoint tensors -> variables of a Keras model, or a sentence that says why not."""

import dataclasses
import logging
import os
import warnings
from typing import Any

import keras
import numpy as np

from conversion.names import Tree, checkpoint_variables, model_tree, module_name
from conversion.sources import Progress, read_checkpoint
from keras_nest import registry
from keras_nest.layers.embeddings import RESIZE_METHODS
from keras_nest.layers.image_blocks import Size
from keras_nest.models import ImageModel, read_model

_log = logging.getLogger("keras_nest")
_SHOWN = 3


@dataclasses.dataclass(frozen=True)
class LoadReport:
    """What loading did.

    Attributes:
        tensors: tensors of the checkpoint that went into the model.
        parameters: numbers in the model, batch statistics included.
        resized: one sentence for each resized position embedding.
        new_head: the head was set to zero.
        skipped: top-level modules of the checkpoint that the model does without.
    """

    tensors: int
    parameters: int
    resized: tuple[str, ...] = ()
    new_head: bool = False
    skipped: tuple[str, ...] = ()

    def log(self) -> None:
        """Tells the user what is not as in the checkpoint."""
        for sentence in self.resized:
            _log.warning(sentence)
        if self.new_head:
            _log.info("The head was set to zero.")


def load_model(
    name: str,
    weights: str | os.PathLike[str],
    given: dict[str, Any],
    reinit_head: bool = False,
    resize_method: str = "block",
    progress: Progress | None = None,
) -> tuple[ImageModel, LoadReport]:
    """Builds the model that fits a checkpoint, and loads it.

    Args:
        name: a published name.
        weights: the checkpoint, see `read_checkpoint`.
        given: fields that the user set; the others follow the checkpoint, then the published configuration.
        reinit_head: start with a head of zeros.
        resize_method: "block" or "grid".
        progress: told how many bytes were read.

    Returns:
        The model, and what was done.

    Raises:
        ValueError: the checkpoint does not fit.
        FileNotFoundError: there is no checkpoint.
    """
    full_name, architecture, _ = registry.resolve(name)
    source_size = None
    if os.fspath(weights).endswith(".keras"):
        source = read_model(weights)
        tree, source_size = model_tree(source), source.image_size
        inferred = {"num_classes": source.num_classes, "image_size": source_size}
    else:
        tree = read_checkpoint(weights, progress)
        shapes = {path.removeprefix("params/"): value.shape for path, value in tree.items()}
        inferred = architecture.infer_fields(registry.merge_fields(full_name, {}, given), shapes)
    model = architecture(**registry.merge_fields(full_name, inferred, given))
    try:
        report = load_weights(model, tree, reinit_head, resize_method, source_size)
    except ValueError as error:
        raise ValueError(f"{os.fspath(weights)} does not fit {full_name}: {error}") from None
    report.log()
    return model, report


def load_weights(
    model: ImageModel,
    tree: Tree,
    reinit_head: bool = False,
    resize_method: str = "block",
    source_size: Size | None = None,
) -> LoadReport:
    """Puts a checkpoint's tensors into a model; all of them or, on an error, none.

    Args:
        model: the model.
        tree: "params/PATH" and "batch_stats/PATH" -> array.
        reinit_head: set the head to zero, whatever the checkpoint holds.
        resize_method: "block" or "grid", see `PositionEmbedding.resize`.
        source_size: height and width of the checkpoint's images; None takes them to be square.

    Returns:
        What was done.

    Raises:
        ValueError: tensors are missing, left over or of another shape.
    """
    variables = checkpoint_variables(model)
    skipped = {path for path in tree if module_name(path) in model.omitted}
    new_head = {path for path in variables if reinit_head and module_name(path) in model.HEAD}
    skipped |= {path for path in tree if reinit_head and module_name(path) in model.HEAD}
    if resize_method not in RESIZE_METHODS:
        raise ValueError(f"resize_method is {resize_method!r}; it must be one of {', '.join(RESIZE_METHODS)}.")
    wanted = {path: tree[path] for path in variables if path in tree and path not in new_head}
    values, resized, refused = _fit_shapes(model, variables, wanted, resize_method, source_size)
    left = [path for path in tree if path not in variables and path not in skipped]
    _check(model, variables, values, left, new_head, refused)
    _warn_of_nan(values)
    for path, value in values.items():
        variables[path].assign(value)
    for path in new_head:
        variables[path].assign(np.zeros(variables[path].shape))
    return LoadReport(
        tensors=len(values),
        parameters=sum(int(np.prod(variable.shape)) for variable in variables.values()),
        resized=tuple(resized),
        new_head=bool(new_head),
        skipped=tuple(sorted({module_name(path) for path in skipped - new_head})),
    )


def _fit_shapes(
    model: ImageModel, variables: dict[str, keras.Variable], values: Tree, resize_method: str, source_size: Size | None
) -> tuple[Tree, list[str], dict[str, str]]:
    """Reshapes what old Flax stored otherwise, and resizes what a layer knows how to resize.

    Returns:
        The values, a sentence for each resized one, and why others could not be resized, by path.
    """
    layers = {layer.path: layer for layer in model._flatten_layers()}
    height, width = model.image_size
    scale = None if source_size is None else (source_size[0] / height, source_size[1] / width)
    fitted, resized, refused = {}, [], {}
    for path, value in values.items():
        shape = tuple(variables[path].shape)
        layer: Any = layers.get(variables[path].path.rpartition("/")[0])
        if value.shape != shape and _squeeze(value.shape) == _squeeze(shape):
            value = value.reshape(shape)  # Flax 0.3 stored GroupNorm vectors as (1, 1, 1, C)
        elif value.ndim == len(shape) and hasattr(layer, "resize"):
            try:
                block = layer.source_block(value, scale)
                if block != layer.block:
                    value = layer.resize(value, block, resize_method)
                    resized.append(_resize_sentence(path, block, layer.block, resize_method))
            except ValueError as error:
                refused[path] = str(error)
        fitted[path] = value
    return fitted, resized, refused


def _resize_sentence(path: str, old: Size, new: Size, method: str) -> str:
    old_block, new_block = ("{} x {}".format(*block) for block in (old, new))
    return f"{_plain(path)} was resized from {old_block} to {new_block} tokens a block (method {method})."


def _squeeze(shape: tuple[int, ...]) -> tuple[int, ...]:
    """A shape without leading axes of size one."""
    shape = tuple(shape)
    while shape and shape[0] == 1:
        shape = shape[1:]
    return shape


def _check(
    model: ImageModel,
    variables: dict[str, keras.Variable],
    values: Tree,
    extra: list[str],
    new_head: set[str],
    refused: dict[str, str],
) -> None:
    """Raises unless every variable has a tensor of its shape and no tensor is left over."""
    missing = [path for path in variables if path not in values and path not in new_head]
    differing = [path for path in values if values[path].shape != tuple(variables[path].shape)]
    problems = [*differing, *missing, *extra]
    if not problems:
        return
    if all(module_name(path) in model.HEAD for path in problems):
        raise ValueError(_head_sentence(model, values))
    if set(problems) == set(refused):
        raise ValueError(next(iter(refused.values())))
    parts = [
        f"{_plain(path)} is {values[path].shape} in the checkpoint and {tuple(variables[path].shape)} in the model"
        for path in differing[:_SHOWN]
    ]
    if missing:
        parts.append(f"the checkpoint lacks {_some(missing)}")
    if extra:
        parts.append(f"the model lacks {_some(extra)}")
    raise ValueError(
        f"{len(problems)} tensors differ: {'; '.join(parts)}. "
        "Is it a checkpoint of another model, or does a field need to be set?"
    )


def _head_sentence(model: ImageModel, tree: Tree) -> str:
    kernel = tree.get(f"params/{model.HEAD[-1]}/kernel")
    there = f"a head of {kernel.shape[-1]} classes" if kernel is not None else "no head"
    return (
        f"it has {there}, the model has {model.num_classes}; pass reinit_head=True (--reinit-head) for a new head of "
        "zeros, or leave num_classes out."
    )


def _warn_of_nan(values: Tree) -> None:
    damaged = [path for path, value in values.items() if not np.isfinite(np.sum(value, dtype=np.float64))]
    damaged = [path for path in damaged if not np.all(np.isfinite(values[path]))]
    if damaged:
        warnings.warn(f"The checkpoint holds NaN or infinite values in {_some(damaged)}.", stacklevel=2)


def _plain(path: str) -> str:
    return path.removeprefix("params/")


def _some(paths: list[str]) -> str:
    shown = ", ".join(_plain(path) for path in paths[:_SHOWN])
    return shown if len(paths) <= _SHOWN else f"{shown} and {len(paths) - _SHOWN} more"
