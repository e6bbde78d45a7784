"""Checkpoint tensors -> variables of a Keras model, or a sentence that says why not."""

import contextlib
import dataclasses
import logging
import math
import os
import warnings
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any

import keras
import numpy as np

from keras_nest import registry
from keras_nest.choices import RESIZE_METHODS
from keras_nest.conversion.augreg_index import parse_model_name
from keras_nest.conversion.depth import missing_blocks, shorten
from keras_nest.conversion.fit import Fitted, fit
from keras_nest.conversion.hugging_face import on_this_machine
from keras_nest.conversion.names import Tree, belongs_to, checkpoint_variables, model_tree, plain
from keras_nest.conversion.own import check_name, read_own, read_weights, rebuild
from keras_nest.conversion.pytorch.files import is_pytorch
from keras_nest.conversion.sources import locate, read_checkpoint, read_image_size, told, told_of_model
from keras_nest.exported import refuse_export
from keras_nest.models.answers import task_of
from keras_nest.models.base import ImageModel, PublishedModel
from keras_nest.models.budget import weights_within
from keras_nest.models.keras_file import find_keras_file
from keras_nest.models.weights_file import SUFFIX
from keras_nest.types import Progress, Size
from keras_nest.untrusted.limits import ClaimError

_log = logging.getLogger("keras_nest")
_SHOWN = 3


@dataclasses.dataclass(frozen=True)
class LoadReport:
    """What loading did.

    Attributes:
        tensors: tensors of the checkpoint that went into the model.
        parameters: numbers in the model, batch statistics included.
        changed: one sentence for each tensor that is not as in the checkpoint.
        new_head: the head was set to zero.
        skipped: modules of the checkpoint that the model does without.
        assumed: one sentence for what the checkpoint leaves open.
    """

    tensors: int
    parameters: int
    changed: tuple[str, ...] = ()
    new_head: bool = False
    skipped: tuple[str, ...] = ()
    assumed: tuple[str, ...] = ()

    def log(self) -> None:
        """Tells the user what is not as in the checkpoint."""
        for sentence in (*self.changed, *self.assumed):
            _log.warning(sentence)
        if self.new_head:
            _log.info("The head was set to zero.")
        if self.skipped:
            _log.warning(f"Of the checkpoint, {', '.join(self.skipped)} was not used.")


def name_of(weights: str | os.PathLike[str]) -> str:
    """The model that a checkpoint's file name tells, or the config.json beside weights of PyTorch.

    Raises:
        ValueError: it tells none.
    """
    found = told(weights)
    name = found.name if found else parse_model_name(os.fspath(weights))
    if name is None:
        path = locate(os.fspath(weights))
        raise ValueError(
            f"The file name {os.path.basename(path)} does not tell which model it is; give the model's "
            "name, one of `keras-nest list`" + (", or put its config.json beside." if is_pytorch(path) else ".")
        )
    return name


def load_model(
    name: str | None,
    weights: str | os.PathLike[str],
    given: dict[str, Any],
    reinit_head: bool = False,
    resize_method: str = "block",
    progress: Progress | None = None,
    trust: bool = False,
) -> tuple[PublishedModel, LoadReport]:
    """Builds the model that fits a checkpoint, and loads it.

    Args:
        name: a published name; None takes it from the checkpoint, see `create_model`.
        weights: the checkpoint, see `read_checkpoint`.
        given: fields that the user set; the others follow the checkpoint, then the published configuration.
        reinit_head: start with a head of zeros.
        resize_method: one of `RESIZE_METHODS`; "block" is the checkpoint's own way.
        progress: told how many bytes were read.
        trust: as `read_model` takes it.

    Returns:
        The model, and what was done.

    Raises:
        ValueError: the checkpoint does not fit.
        FileNotFoundError: there is no checkpoint.
    """
    weights = on_this_machine(registry.published_weights(name, weights))
    if path := find_keras_file(weights):
        return _load_own(path, name, given, reinit_head, resize_method, trust)
    refuse_export(weights)
    if name is None:
        locate(os.fspath(weights))  # what is not there has no name
    full_name, architecture, published = registry.resolve(name or name_of(weights))
    registry.check_fields(architecture, given)
    if os.fspath(weights).endswith(SUFFIX):
        source = read_weights(os.fspath(weights), full_name, given)
        return _adapted(source, os.fspath(weights), given, reinit_head, resize_method)
    theirs = told_of_model(weights, full_name, given)
    known = theirs.fields if theirs else {}
    if theirs and resize_method == "block":
        resize_method = theirs.resize_method
    published |= known
    tree = read_checkpoint(weights, progress, num_heads={**published, **given}.get("num_heads"))
    source_size = read_image_size(weights)
    shapes = {path.removeprefix("params/"): value.shape for path, value in tree.items()}
    inferred = known | architecture.infer_fields(registry.merge_fields(full_name, known, given), shapes, reinit_head)
    if source_size and "image_size" in registry.model_fields(architecture):
        inferred["image_size"] = source_size
    is_told = (theirs or source_size) and not given
    with _no_larger_than(tree, os.fspath(weights)) if is_told else contextlib.nullcontext():
        model = architecture(**registry.merge_fields(full_name, inferred, given))
    try:
        report = load_weights(model, tree, reinit_head, resize_method, source_size, given, published)
    except ValueError as error:
        raise ValueError(f"{os.fspath(weights)} does not fit {full_name}: {error}") from None
    dataset = registry.dataset_of_head(full_name, model.num_classes)
    if dataset and not report.new_head and (theirs is None or theirs.published_head):
        model.mark_head(dataset)
    elif theirs and theirs.class_names and not report.new_head and len(theirs.class_names) == model.num_classes:
        model.mark_head(theirs.class_names)
    if theirs and isinstance(model, ImageModel) and not report.new_head:
        model.task = theirs.task
    if theirs and "activation" not in given:
        report = dataclasses.replace(report, assumed=(*report.assumed, *theirs.assumed))
    report.log()
    return model, report


@contextlib.contextmanager
def _no_larger_than(tree: Tree, path: str) -> Iterator[None]:
    """Refuses a model that a checkpoint's config.json or image size makes far larger than its tensors."""
    try:
        with weights_within(sum(4 * value.size for value in tree.values())):
            yield
    except ClaimError:
        raise ValueError(f"{path} holds fewer tensors than the model that it tells of; is it complete?") from None


def _load_own(
    path: str, name: str | None, given: dict[str, Any], reinit_head: bool, resize_method: str, trust: bool
) -> tuple[PublishedModel, LoadReport]:
    """The model of a .keras file of this package, or one like it with other fields; see `load_model`."""
    source = read_own(path, trust)
    if name is not None:
        check_name(source, path, name)
    registry.check_fields(type(source), given)
    return _adapted(source, path, given, reinit_head, resize_method)


def _adapted(
    source: PublishedModel, path: str, given: dict[str, Any], reinit_head: bool, resize_method: str
) -> tuple[PublishedModel, LoadReport]:
    """A model that was read, or one like it with other fields."""
    tree = model_tree(source)
    if isinstance(source, ImageModel):
        source.task = task_of(source)  # The loss that tells it does not come with the weights.
    if not given and not reinit_head:
        return source, LoadReport(len(tree), sum(value.size for value in tree.values()))
    model = rebuild(source, given, reinit_head)
    try:
        report = load_weights(model, tree, reinit_head, resize_method, source.image_size, given, source.config)
    except ValueError as error:
        raise ValueError(f"{path} does not fit {source.name} with other fields: {error}") from None
    if isinstance(source, ImageModel) and model.num_classes == source.num_classes and not report.new_head:
        model.task = source.task
        if source.head_classes:
            model.mark_head(source.head_classes)
    report.log()
    return model, report


def load_weights(
    model: PublishedModel,
    tree: Tree,
    reinit_head: bool = False,
    resize_method: str = "block",
    source_size: Size | None = None,
    given: Mapping[str, Any] = MappingProxyType({}),
    source: Mapping[str, Any] = MappingProxyType({}),
) -> LoadReport:
    """Puts a checkpoint's tensors into a model of this package; see `keras_nest.conversion.load_weights`.

    Raises:
        ValueError: tensors are missing, left over or of another shape.
    """
    if resize_method not in RESIZE_METHODS:
        raise ValueError(f"resize_method is {resize_method!r}; it must be one of {', '.join(RESIZE_METHODS)}.")
    variables = checkpoint_variables(model)
    tree, shortened = shorten(model, tree, given, source)
    if reinit_head and not model.HEAD:
        raise ValueError(f"a {type(model).__name__} has no head to start anew; leave reinit_head out.")
    head, pre_head = (model.HEAD, model.PRE_HEAD) if reinit_head else ((), ())
    new_head = {path for path in variables if belongs_to(path, head)}
    new_pre_head = {path for path in variables if belongs_to(path, pre_head) and path not in tree}
    skipped = [name for name in sorted(model.omitted) if any(belongs_to(path, [name]) for path in tree)]
    wanted = {path: tree[path] for path in variables if path in tree and path not in new_head}
    fitted = fit(model, variables, wanted, resize_method, source_size, "cls" in skipped, given)
    left = [path for path in tree if path not in variables and not belongs_to(path, (*skipped, *head))]
    _check_depth(model, given, tree, variables, fitted, left)
    _check(model, variables, fitted, left, new_head | new_pre_head)
    _check_pre_head(model, tree, skipped, reinit_head)
    _warn_of_nan(fitted.values)
    _assign(variables, fitted.values, zeros=new_head)
    new = [f"{plain(path)} is not in the checkpoint and starts with random values." for path in sorted(new_pre_head)]
    return LoadReport(
        tensors=len(fitted.values),
        parameters=sum(math.prod(variable.shape) for variable in variables.values()),
        changed=(*shortened, *fitted.changed, *new),
        new_head=bool(new_head),
        skipped=tuple(skipped),
        assumed=tuple(fitted.assumed),
    )


def _assign(variables: dict[str, keras.Variable], values: Tree, zeros: set[str]) -> None:
    for path, value in values.items():
        variables[path].assign(value)
    for path in zeros:
        variables[path].assign(np.zeros(variables[path].shape))


def _check_depth(
    model: PublishedModel,
    given: Mapping[str, Any],
    tree: Tree,
    variables: dict[str, keras.Variable],
    fitted: Fitted,
    extra: list[str],
) -> None:
    """Refuses more blocks than there are, where nothing but them is missing."""
    sentence, blocks = missing_blocks(model, tree, given)
    missing = [path for path in variables if path not in tree and not belongs_to(path, model.HEAD)]
    fits = all(value.shape == tuple(variables[path].shape) for path, value in fitted.values.items())
    if sentence and fits and not extra and all(belongs_to(path, blocks) for path in missing):
        raise ValueError(sentence)


def _check(
    model: PublishedModel, variables: dict[str, keras.Variable], fitted: Fitted, extra: list[str], new: set[str]
) -> None:
    """Raises unless every variable has a tensor of its shape and no tensor is left over."""
    values, refused = fitted.values, fitted.refused
    missing = [path for path in variables if path not in values and path not in new]
    differing = [path for path in values if values[path].shape != tuple(variables[path].shape)]
    problems = [*differing, *missing, *extra]
    if not problems:
        return
    if all(belongs_to(path, model.HEAD) for path in problems):
        raise ValueError(_head_sentence(model, values))
    if set(problems) == set(refused):
        raise ValueError(next(iter(refused.values())))
    parts = [
        f"{plain(path)} is {values[path].shape} in the checkpoint and {tuple(variables[path].shape)} in the model"
        for path in differing[:_SHOWN]
    ]
    if missing:
        parts.append(f"the checkpoint lacks {_some(missing)}")
    if extra:
        parts.append(f"the model lacks {_some(extra)}")
    hint = "Is it a checkpoint of another model, or does a field need to be set?"
    raise ValueError(f"{len(problems)} tensors differ: {'; '.join(parts)}. {hint}")


def _check_pre_head(model: PublishedModel, tree: Tree, skipped: list[str], reinit_head: bool) -> None:
    """Refuses a head without the layer that it was trained on."""
    if reinit_head or not model.num_classes:
        return
    for name, field in model.PRE_HEAD.items():
        if name in skipped:
            width = tree[f"params/{name}/kernel"].shape[-1]
            raise ValueError(
                f"its head was trained on the layer {name}, which the model lacks; pass reinit_head=True "
                f"(--reinit-head) for a new head of zeros, or {field}={width} to keep both."
            )


def _head_sentence(model: PublishedModel, tree: Tree) -> str:
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


def _some(paths: list[str]) -> str:
    shown = ", ".join(plain(path) for path in paths[:_SHOWN])
    return shown if len(paths) <= _SHOWN else f"{shown} and {len(paths) - _SHOWN} more"
